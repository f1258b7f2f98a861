"""The hook that starts self attention distillation."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmptq.utils.models import unwrap


@HOOKS.register_module()
class SADHook(Hook):
    """Switches the model's ``distillation`` loss on at an iteration.

    The deep stages of a network have to learn where lanes are before shallow ones copy their
    attention; the paper starts at 40,000 of 60,000 iterations.

    Args:
        begin (int): First iteration with the loss, counted from 0. A resumed training switches at
            the same place.

    Example:
        >>> custom_hooks = [dict(type='SADHook', begin=40000)]
    """

    def __init__(self, begin: int) -> None:
        if begin < 0:
            raise ValueError(f'SADHook begins at iteration 0 or later, not {begin}')
        self.begin = begin

    def before_train(self, runner: Runner) -> None:
        """Refuse a model that has nothing to switch on."""
        if getattr(unwrap(runner.model), 'distillation', None) is None:
            raise ValueError(
                'SADHook found no distillation loss in the model: set '
                "model=dict(distillation=dict(type='SADLoss', ...)) or remove the hook"
            )

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Switch the loss on or off according to the iteration."""
        distillation = unwrap(runner.model).distillation
        enabled = runner.iter >= self.begin
        if enabled and not distillation.enabled:
            runner.logger.info(f'Self attention distillation begins at iteration {runner.iter}')
        distillation.enabled = enabled

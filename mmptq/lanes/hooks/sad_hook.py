"""Start self attention distillation."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmptq.utils.models import unwrap


@HOOKS.register_module()
class SADHook(Hook):
    """Enable the model's ``distillation`` loss from an iteration on.

    Deep stages must learn where lanes are before shallow stages imitate their attention; the paper
    starts at 40,000 of 60,000 iterations.

    Args:
        begin (int): First iteration with the loss, counted from 0, also in a resumed training.

    Example:
        >>> custom_hooks = [dict(type='SADHook', begin=40000)]
    """

    def __init__(self, begin: int) -> None:
        if begin < 0:
            raise ValueError(f'begin of SADHook must be at least 0, got {begin}')
        self.begin = begin

    def before_train(self, runner: Runner) -> None:
        """Refuse a model without a distillation loss."""
        if getattr(unwrap(runner.model), 'distillation', None) is None:
            raise ValueError(
                'SADHook needs a distillation loss in the model: set '
                "model=dict(distillation=dict(type='SADLoss', ...)) or remove the hook"
            )

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Enable or disable the loss for this iteration."""
        distillation = unwrap(runner.model).distillation
        enabled = runner.iter >= self.begin
        if enabled and not distillation.enabled:
            runner.logger.info(f'Self attention distillation begins at iteration {runner.iter}')
        distillation.enabled = enabled

"""The hook that lets the stock tools load quantized checkpoints."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmptq.compat.empty_scans import accept_empty_scans
from mmptq.quantization import QuantizationError
from mmptq.utils.models import unwrap

from .checkpoint import check_keys, load_into, plan_of, unpack_checkpoint
from .ptq_loop import PTQLoop


@HOOKS.register_module()
class QuantizationHook(Hook):
    """Converts the model before the weights of a quantized checkpoint are loaded into it.

    A float checkpoint passes through; before quantization (``PTQLoop``) it is checked against
    the model, because the runner itself loads with missing keys.

    Note:
        mmengine calls ``after_load_checkpoint`` between reading a checkpoint and loading its
        weights; this is what makes a quantized checkpoint self-describing.
    """

    priority = 'VERY_HIGH'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Convert and check the model; ``checkpoint`` is the dict that was read."""
        model = unwrap(runner.model)
        accept_empty_scans(model)
        plan = plan_of(checkpoint)
        quantizing = isinstance(runner._train_loop, PTQLoop)
        state = checkpoint.get('state_dict', checkpoint)
        if plan is not None:
            if quantizing:
                raise QuantizationError(
                    f"checkpoint '{runner._load_from}' is quantized already: give the float "
                    'checkpoint, or test this one with tools/test.py'
                )
            # In place: the runner loads again after this hook, and does not complain.
            unpack_checkpoint(checkpoint)
            load_into(model, plan, state)
        elif quantizing:
            unexpected = check_keys(model, state, strict=False)
            if unexpected:
                runner.logger.warning(
                    f'{len(unexpected)} keys of the checkpoint are not used: '
                    + ', '.join(unexpected[:5])
                )

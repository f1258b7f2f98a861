"""The hook that lets the stock tools load quantized checkpoints."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop, Runner

from mmptq.compat.empty_scans import accept_empty_scans
from mmptq.compat.quantized_loading import TRAINING, is_training
from mmptq.quantization import QuantizationError
from mmptq.utils.models import unwrap

from .checkpoint import plan_of
from .evaluate import collect_in
from .load_weights import load_weights
from .training import drop_model_copies


@HOOKS.register_module()
class QuantizationHook(Hook):
    """Converts the model before the weights of a quantized checkpoint are loaded into it.

    Before quantization (``PTQLoop``) and before a test, a float checkpoint is checked against the
    model and loaded, because the runner itself goes on with missing keys. In a training a float
    checkpoint passes through, and a quantized one is refused.

    Note:
        mmengine calls ``after_load_checkpoint`` between reading a checkpoint and loading its
        weights; this is what makes a quantized checkpoint self-describing.
    """

    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        """Let metrics exchange results of several processes in the work directory."""
        for loop in (runner._val_loop, runner._test_loop):
            if isinstance(loop, BaseLoop):
                collect_in(getattr(loop, 'evaluator', None), runner.work_dir)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Convert and check the model; ``checkpoint`` is the dict that was read."""
        accept_empty_scans(unwrap(runner.model))
        # A test builds its own loop first; a hook that asks for epochs builds the other one too.
        testing = isinstance(runner._test_loop, BaseLoop)
        loop = None if testing else runner._train_loop
        quantizing = getattr(loop, 'quantizes', False)
        quantized = plan_of(checkpoint) is not None
        if quantized and quantizing:
            raise QuantizationError(
                f"checkpoint '{runner._load_from}' is quantized already: give the float "
                'checkpoint, or test this one with tools/test.py'
            )
        training = is_training(runner)
        if quantized and training:
            raise QuantizationError(f"checkpoint '{runner._load_from}' {TRAINING}")
        if quantized or not training:
            # The runner loads the same state dict again after this hook.
            load_weights(runner.model, checkpoint)
        if quantized:
            drop_model_copies(runner)

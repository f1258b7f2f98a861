"""Calibration samples together with what a task loss compares with on them."""

from typing import Any

import torch
from torch import Tensor, nn

from mmptq.adapters import Adapter, HeadOutput
from mmptq.ptq.context import PTQContext
from mmptq.ptq.replay.activation_cache import ActivationCache
from mmptq.quantization import QuantizationError, quantizers_off


class TaskSamples:
    """A loss between the head outputs of a model as it is and of its float one, sample by sample.

    Samples where the float model has no foreground are left out.

    Args:
        ctx (PTQContext): Gives the model and the calibration samples.
        adapter (Adapter): Of the model.
        loss (nn.Module): With ``make_target(adapter, raw, data)`` and
            ``forward(adapter, raw, data, target)``, like ``DetectionOutputLoss``.
        samples (ActivationCache): Empty; gets the samples as the model's forward takes them.
        targets (ActivationCache): Empty; gets what the float model gives.
        count (int, optional): So many samples at most, evenly spread. Defaults to all.

    Raises:
        QuantizationError: If the float model has no foreground in any sample.
    """

    def __init__(
        self,
        ctx: PTQContext,
        adapter: Adapter,
        loss: nn.Module,
        samples: ActivationCache,
        targets: ActivationCache,
        count: int | None = None,
    ):
        self.adapter, self.loss = adapter, loss
        self.samples, self.targets = samples, targets
        self._target: tuple[int, Any] = (-1, None)  # searches try many settings on one sample
        seen = 0
        for data in ctx.batches('float outputs', count):
            with torch.no_grad(), quantizers_off(ctx.model):
                target = loss.make_target(adapter, adapter.raw_outputs(data), data)
            if target is not None:
                samples.append(data)
                targets.append(_pack(target))
            seen += 1
        if not len(samples):
            raise QuantizationError(
                f'the float model finds no foreground in {seen} calibration samples: check the '
                'checkpoint and the calibration data, or lower score_thr of the loss'
            )

    def __len__(self) -> int:
        return len(self.samples)

    def raw_outputs(self, index: int) -> Any:
        """Raw outputs of the model as it is."""
        return self.adapter.raw_outputs(self.samples[index])

    def distance(self, index: int, raw: Any) -> Tensor:
        """The loss of raw outputs of a sample."""
        if self._target[0] != index:
            self._target = index, _unpack(self.targets[index])
        return self.loss(self.adapter, raw, self.samples[index], self._target[1])


def _pack(target: Any) -> Any:
    """A target as nested plain data and tensors."""
    if isinstance(target, list):
        return [vars(item) if isinstance(item, HeadOutput) else item for item in target]
    return target


def _unpack(target: Any) -> Any:
    """Inverse of ``_pack``."""
    if isinstance(target, list):
        return [HeadOutput(**item) if isinstance(item, dict) else item for item in target]
    return target

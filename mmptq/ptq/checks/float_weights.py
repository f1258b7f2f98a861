"""Weights of the float model that cannot be quantized."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from mmptq.quantization import QuantizationError, QuantPlan


def check_weights(model: nn.Module, plan: QuantPlan) -> None:
    """Refuse weights and statistics with NaN or Inf in what the plan quantizes or folds.

    Args:
        model (nn.Module): The float model.
        plan (QuantPlan): Layers that stay float are not looked at.

    Raises:
        QuantizationError: Names the first such tensor.
    """
    norms = dict(plan.folded)
    for layer in plan.layers:
        for name in (layer.name, norms.get(layer.name)) if layer.quantized else ():
            for key, value in _own_tensors(model, name):
                if not _is_finite(value):
                    raise QuantizationError(
                        f"'{name}.{key}' holds NaN or Inf: the float checkpoint is damaged, so use "
                        f"another one, or keep the layer float with --float '{layer.name}'"
                    )


def _is_finite(value: Tensor) -> bool:
    # The sum is quick, and not finite where a value is not.
    if not value.is_floating_point() or torch.isfinite(value.detach().sum()):
        return True
    return bool(torch.isfinite(value).all())


def _own_tensors(model: nn.Module, name: str | None) -> Iterator[tuple[str, Tensor]]:
    if name is not None:
        module = model.get_submodule(name)
        yield from module.named_parameters(recurse=False)
        yield from module.named_buffers(recurse=False)

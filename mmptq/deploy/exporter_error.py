"""Errors of torch's ONNX exporter, as one sentence that names operator or module."""

import re

import torch
from torch import Tensor, nn

from mmptq.quantization import QuantizationError
from mmptq.utils.hooks import temporary_hooks
from mmptq.utils.messages import first_line

TRANSLATED = re.compile(r"[Oo]ccurred when translating (\w+)|operator '([\w:]+)'")


def exporter_error(error: Exception, subgraph: nn.Module, sample: Tensor) -> QuantizationError:
    """The sentence for an error of ``torch.onnx.export``.

    Args:
        error (Exception): As it came.
        subgraph (nn.Module): What was exported.
        sample (Tensor): Its input.
    """
    match = TRANSLATED.search(str(error))
    operator = match and (match[1] or match[2])
    places = [place for place in (operator, _innermost(subgraph, sample)) if place]
    where = f' {" of ".join(repr(place) for place in places)}' if places else ' the network'
    return QuantizationError(
        f'torch cannot export{where} to ONNX ({first_line(error)}): replace that module in the '
        'model config'
    )


def _innermost(subgraph: nn.Module, sample: Tensor) -> str | None:
    """The module in which tracing stops; None where it is only translated wrongly."""
    running: list[str] = []
    modules = {module: name for name, module in subgraph.named_modules() if name}

    def enter(module: nn.Module, _: tuple) -> None:
        running.append(modules[module])

    def leave(*_) -> None:
        running.pop()

    with temporary_hooks(dict.fromkeys(modules, enter), dict.fromkeys(modules, leave)):
        try:
            torch.jit.trace(subgraph, sample, check_trace=False)
        except Exception:
            return running[-1] if running else None
    return None

"""Queries that a two-stage DETR takes from its encoder: recorded, or taken from elsewhere."""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class ChosenQueries(TorchFunctionMode):
    """Within this context ``torch.topk`` takes given rows, or the rows that it takes are kept.

    Args:
        rows (Tensor, optional): (B, Q) indices to take. Defaults to None, which takes the largest
            values and keeps their indices.

    Attributes:
        rows (Tensor): (B, Q) indices of the last call.
    """

    def __init__(self, rows: Tensor | None = None):
        super().__init__()
        self.given = rows is not None
        self.rows = rows

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func not in (torch.topk, Tensor.topk):
            return result
        if not self.given:
            self.rows = result.indices
            return result
        scores = args[0] if args else kwargs['input']
        rows = self.rows.to(scores.device)
        return type(result)((scores.gather(1, rows), rows))

"""Which rows of a map a lane reaches."""

import math

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn


class RowRange(BaseModule):
    """Two logits per row of a location map: the lane does not reach the row, or it does.

    A perceptron with one hidden layer, the same for all rows. It belongs to decoding, because it
    works on the maps of the lanes that were found; its parameters are not those of a layer that is
    quantized.

    Args:
        width (int): Width of the maps in cells.
        hidden (int): Number of hidden units.
    """

    def __init__(self, width: int, hidden: int = 64) -> None:
        super().__init__()
        self.hidden_weight, self.hidden_bias = _new_layer(width, hidden)
        self.output_weight, self.output_bias = _new_layer(hidden, 2)

    def forward(self, maps: Tensor) -> Tensor:
        """Logits (..., H, 2) of location maps (..., H, W)."""
        hidden = F.linear(maps, self.hidden_weight, self.hidden_bias).relu()
        return F.linear(hidden, self.output_weight, self.output_bias)


def _new_layer(in_features: int, out_features: int) -> tuple[nn.Parameter, nn.Parameter]:
    """Weight and bias with the initial values of a linear layer of torch."""
    bound = 1 / math.sqrt(in_features)
    weight = nn.Parameter(torch.empty(out_features, in_features))
    bias = nn.Parameter(torch.empty(out_features))
    return nn.init.uniform_(weight, -bound, bound), nn.init.uniform_(bias, -bound, bound)

"""Factors of input channels that are tried on a layer."""

import torch
from torch import Tensor

from mmptq.ptq.checks.diagnosis import column_norms
from mmptq.quantization import QuantMixin

from .channel_grid import ChannelGrid

# Shares of the differences between inputs, and between weights, that factors take away.
SHARES = ((0.25, 0.0), (0.5, 0.0), (0.75, 0.0), (1.0, 0.0), (0.5, 0.5), (0.0, 1.0))
# Weights whose largest column is this many times the mean one are worth a trial.
UNEVEN = 4.0


def factors_by_share(layer: QuantMixin, grid: ChannelGrid) -> dict[tuple[float, float], Tensor]:
    """Factors (C,) by the shares of inputs and of weights that they even out.

    Large factors for large weights, small ones for large inputs. A channel of zeros costs its
    weights nothing: its factor makes them as large as the others, so that they do not decide about
    the range of the weight.

    Args:
        layer (QuantMixin): Without factors.
        grid (ChannelGrid): Of its input.

    Returns:
        dict[tuple[float, float], Tensor]: (0, 0) stands for no factors.
    """
    norms = column_norms(layer).to(grid.steps)
    used, alive = norms > 0, grid.steps > 0
    logs = norms.clamp(min=torch.finfo(norms.dtype).tiny).log()
    mean = logs[used].mean() if used.any() else logs.new_zeros(())
    weights = torch.where(used, logs - mean, 0.0)
    uneven = bool(weights.max() > torch.tensor(UNEVEN).log()) if used.any() else False
    found = {(0.0, 0.0): torch.ones_like(grid.steps)}
    for share, weight_share in SHARES:
        if weight_share and not uneven:
            continue
        factors = grid.factors(share).log() + weight_share * weights
        left = logs - factors
        typical = left[alive & used].mean() if (alive & used).any() else mean
        factors = torch.where(used & ~alive, logs - typical, factors)
        found[share, weight_share] = factors.exp()
    return found

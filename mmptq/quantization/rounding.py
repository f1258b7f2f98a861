"""Learned rounding: for every weight, whether it goes to the grid point below or above."""

import torch
from torch import Tensor, nn

from .functional import grid_position
from .scheme import QScheme

# The sigmoid is stretched over (LOW, HIGH) and clipped, so that it reaches 0 and 1.
LOW, HIGH = -0.1, 1.1


class SoftRounding(nn.Module):
    """A learnable fraction between the two grid points next to each value.

    AdaRound (https://arxiv.org/abs/2004.10568), equations 22 to 24:
    ``w_int = clamp(floor(w / s) + h(V) + z)`` with ``h(V) = clip(1.2 * sigmoid(V) - 0.1, 0, 1)``.
    At the start the soft weight equals the float weight, clipped to the grid. Where decisions were
    learned before, it starts half-way between the two and refines these decisions.

    The soft weight is computed once per step and its gradient is passed to V explicitly: a layer
    may run many times in a step, and V has the size of the weight.

    Args:
        weight (Tensor): The values, any shape.
        scale (Tensor): (C,) or (1,).
        zero_point (Tensor): (C,) or (1,) int32.
        scheme (QScheme): The grid.
        round_up (Tensor, optional): bool, of the weight's shape: earlier decisions. Defaults to
            None.

    Attributes:
        alpha (nn.Parameter): V, of the weight's shape.
        soft (Tensor): The soft weight of this step.
    """

    def __init__(
        self,
        weight: Tensor,
        scale: Tensor,
        zero_point: Tensor,
        scheme: QScheme,
        round_up: Tensor | None = None,
    ):
        super().__init__()
        position = grid_position(weight.detach(), scale, scheme)
        below = position.floor()
        fraction = position - below
        if round_up is not None:
            fraction = (fraction + round_up) / 2
        self.alpha = nn.Parameter(-torch.log((HIGH - LOW) / (fraction - LOW) - 1))
        zero_point = scheme.broadcast(zero_point, weight.dim()).float()
        # Without the zero point: the weight is (below + h) * step within these limits.
        self.register_buffer('below', below, persistent=False)
        self.register_buffer('lowest', scheme.qmin - zero_point, persistent=False)
        self.register_buffer('highest', scheme.qmax - zero_point, persistent=False)
        self.register_buffer('step', scheme.broadcast(scale, weight.dim()).clone(), False)
        self.prepare()

    @torch.no_grad()
    def fraction(self) -> Tensor:
        """h(V): 0 stands for the grid point below, 1 for the one above."""
        return self.alpha.sigmoid().mul_(HIGH - LOW).add_(LOW).clamp_(0, 1)

    @torch.no_grad()
    def prepare(self) -> None:
        """Compute the soft weight; to be called after every change of alpha."""
        position = self.fraction().add_(self.below)
        torch.maximum(position, self.lowest, out=position)
        torch.minimum(position, self.highest, out=position)
        self.soft = position.mul_(self.step).requires_grad_()

    def forward(self, weight: Tensor, *_) -> Tensor:
        """The soft weight; ``weight`` itself is not read again."""
        return self.soft

    @torch.no_grad()
    def carry_gradient(self, penalty: float, temperature: float) -> None:
        """Set the gradient of alpha from that of the soft weight and the penalty.

        The penalty, ``penalty * sum(1 - |2 h - 1|^temperature)``, is zero where every fraction is
        0 or 1.

        Args:
            penalty (float): Factor of the penalty; 0 for none.
            temperature (float): Exponent; the smaller, the more it reaches the middle.
        """
        fraction = self.fraction()
        grad = torch.zeros_like(fraction) if self.soft.grad is None else self.soft.grad * self.step
        position = self.below + fraction
        grad.mul_((position >= self.lowest) & (position <= self.highest))
        if penalty:
            distance = fraction.mul(2).sub_(1)
            slope = distance.abs().pow_(temperature - 1).mul_(distance.sign_())
            grad.sub_(slope, alpha=2 * penalty * temperature)
        # h'(V) by h: the sigmoid is (h - LOW) / (HIGH - LOW), and h is flat where it is clipped.
        grad.mul_((fraction > 0) & (fraction < 1))
        sigmoid = fraction.sub_(LOW).div_(HIGH - LOW)
        self.alpha.grad = grad.mul_(sigmoid).mul_(1 - sigmoid).mul_(HIGH - LOW)

    def harden(self) -> 'HardRounding':
        """The nearer decision for each value."""
        return HardRounding(self.alpha.detach() >= 0)


class HardRounding(nn.Module):
    """A fixed decision for each value; leaves with ``freeze``, which writes its result.

    Args:
        round_up (Tensor): bool, of the weight's shape: whether it goes to the grid point above; or
            whole numbers of steps to go up from the grid point below.
    """

    def __init__(self, round_up: Tensor):
        super().__init__()
        self.register_buffer('round_up', round_up, persistent=False)

    def forward(self, weight: Tensor, scale: Tensor, zero_point: Tensor, scheme: QScheme) -> Tensor:
        """On-grid weight."""
        x_int = grid_position(weight, scale, scheme).floor() + self.round_up
        scale, zero_point = (scheme.broadcast(q, weight.dim()) for q in (scale, zero_point))
        zero_point = zero_point.float()
        return ((x_int + zero_point).clamp(scheme.qmin, scheme.qmax) - zero_point) * scale

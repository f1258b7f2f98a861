"""Distance between feature maps."""

from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class LpLoss(nn.Module):
    """``|pred - target|^p``, summed over channels, mean over everything else.

    Channels are axis 1 of maps (B, C, H, W), (B, C, D, H, W) and rows (N, C), and the last axis of
    sequences (B, N, C).

    Args:
        p (float): Exponent. Defaults to 2.0.

    Example:
        >>> loss = dict(type='LpLoss', p=2.0)
    """

    def __init__(self, p: float = 2.0):
        super().__init__()
        self.p = p

    def forward(self, pred: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss, a scalar.

        Args:
            pred (Tensor): Output of the quantized unit.
            target (Tensor): Output of the float unit, of the same shape.
            weight (Tensor, optional): Factor of each error, broadcast to the same shape.
        """
        error = pred - target
        error = error.square() if self.p == 2 else error.abs().pow(self.p)
        if weight is not None:
            error = error * weight
        if error.dim() < 2:
            return error.mean()
        return error.mean() * error.shape[-1 if error.dim() == 3 else 1]

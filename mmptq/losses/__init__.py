"""What "close to float" means."""

from .global_positive_loss import GlobalPositiveLoss
from .lp_loss import LpLoss

__all__ = ['GlobalPositiveLoss', 'LpLoss']

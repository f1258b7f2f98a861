"""What "close to float" means."""

from .global_positive_loss import GlobalPositiveLoss

__all__ = ['GlobalPositiveLoss']

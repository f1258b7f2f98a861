"""Backbones."""

from .enet import ENet
from .reduced_resnet import ReducedResNet

__all__ = [
    'ENet',
    'ReducedResNet',
]

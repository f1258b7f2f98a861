"""What the maps of keypoint heads have in common."""

from torch import nn

MIN_SCORE = 1e-4  # probabilities of a heatmap end here and at 1 - MIN_SCORE in its loss
HEATMAP_BIAS = -2.19  # initial probability 0.1


def keypoint_branch(in_channels: int, out_channels: int) -> nn.Sequential:
    """The two convolutions that give a map from features."""
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(in_channels, out_channels, 1),
    )

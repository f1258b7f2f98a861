"""The common form of head outputs: positions with class scores and regressions."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

# The largest log probability: the logit of anything closer to one is infinite in float32.
LARGEST_LOG = -1e-6


@dataclass
class HeadOutput:
    """The raw output of one head, as positions (anchors, points, cells, proposals).

    Attributes:
        name (str): Module name of the head, with a suffix if the head has several outputs.
        scores (Tensor): (B, N, K) logits that rank detections. If a head multiplies class scores
            by an objectness or centerness, these are the logits of the product. With ``softmax``
            there is one more column, the last one, for background.
        regs (dict[str, Tensor]): (B, N, D) encoded regressions by name, as the head returns them.
        boxes (Tensor, optional): (B, N, 4) decoded corners x1 y1 x2 y2 in pixels of the network
            input; None for heads whose boxes are not in the image plane. Defaults to None.
        softmax (bool): Whether class probabilities are a softmax over the logits; otherwise each
            is a sigmoid. Defaults to False.
    """

    name: str
    scores: Tensor
    regs: dict[str, Tensor] = field(default_factory=dict)
    boxes: Tensor | None = None
    softmax: bool = False

    def probabilities(self) -> Tensor:
        """(B, N, K) probabilities of the foreground classes."""
        if self.softmax:
            return self.scores.softmax(-1)[..., :-1]
        return self.scores.sigmoid()


def product_logit(*logits: Tensor) -> Tensor:
    """The logit of the product of the sigmoids of ``logits``."""
    return logit_of_log(sum(map(logsigmoid, logits)))


def logit_of_log(log_probability: Tensor) -> Tensor:
    """The logits of probabilities whose logarithms are given; none is larger than almost one."""
    log_probability = log_probability.clamp(max=LARGEST_LOG)
    return log_probability - torch.log(-torch.expm1(log_probability))


def flatten_level(x: Tensor, num_channels: int) -> Tensor:
    """A map (B, A * D, H, W) as (B, H * W * A, D), in the order of mmdet's priors.

    Args:
        x (Tensor): Output of a head on one level, A priors per position.
        num_channels (int): D.
    """
    return x.permute(0, 2, 3, 1).reshape(len(x), -1, num_channels)


def flatten_levels(levels: list[Tensor], num_channels: int) -> Tensor:
    """All levels of a head, flattened by ``flatten_level`` and joined: (B, N, D)."""
    return torch.cat([flatten_level(x, num_channels) for x in levels], 1)

"""The auxiliary segmentation of CLRNet."""

import pytest
import torch
from lane_overfit import road_sample
from torch.nn import functional as F

from mmptq.lanes.models.heads.anchor.pyramid_mask_head import PyramidMaskHead
from mmptq.lanes.models.heads.segmentation.lane_seg_targets import segmentation_target


def test_levels_are_joined_at_the_size_of_the_finest():
    head = PyramidMaskHead(3, num_levels=2, num_lanes=4).eval()
    for parameter in head.parameters():
        torch.nn.init.zeros_(parameter)
    head.decoder.classify.weight.data[1, 0] = 1.0  # the first level
    head.decoder.classify.weight.data[2, 3] = 1.0  # the second
    logits = head([torch.full((1, 3, 4, 6), 2.0), torch.full((1, 3, 2, 3), 7.0)])
    assert logits.shape == (1, 5, 4, 6)
    assert [level.unique().tolist() for level in logits[0]] == [[0], [2], [7], [0], [0]]


def test_loss_counts_the_background_less():
    head = PyramidMaskHead(3, 1, num_lanes=4, lane_width=6, background_weight=0.4, loss_weight=2.0)
    sample = road_sample([[(30, 95), (60, 30)]])
    classes, _ = segmentation_target(sample, 4, 6)
    scores = F.one_hot(classes, 5).permute(2, 0, 1)[None].float()
    assert head.loss(40 * scores, [sample]).item() == pytest.approx(0, abs=1e-6)
    lanes = int((classes > 0).sum())
    background = classes.numel() - lanes
    # All pixels are called background with a logit that makes lanes cost 10.
    constant = torch.zeros(1, 5, *classes.shape)
    constant[:, 0] = 10.0
    expected = 2 * 10 * lanes / (lanes + 0.4 * background)
    assert head.loss(constant, [sample]).item() == pytest.approx(expected, rel=1e-3)

"""The neck of GANet."""

import torch

from mmptq.lanes.models import DeformFPN


def test_outputs_lie_on_the_finest_level_also_for_odd_sizes():
    neck = DeformFPN([4, 6, 8], 8, aggregator=dict(feat_channels=8, num_points=5))
    feats = [torch.rand(2, 4, 9, 13), torch.rand(2, 6, 5, 7), torch.rand(2, 8, 3, 4)]
    aggregated, plain, points = neck(feats)
    assert aggregated.shape == plain.shape == (2, 8, 9, 13)
    assert points.shape == (2, 10, 9, 13)


def test_every_level_counts():
    torch.manual_seed(0)
    neck = DeformFPN([4, 6, 8], 8, aggregator=dict(feat_channels=8)).eval()
    feats = [torch.rand(1, 4, 8, 8), torch.rand(1, 6, 4, 4), torch.rand(1, 8, 2, 2)]
    with torch.no_grad():
        before = neck(feats)
        for level in range(3):
            changed = [feat + 1 if i == level else feat for i, feat in enumerate(feats)]
            assert all(not torch.equal(a, b) for a, b in zip(neck(changed), before, strict=True))

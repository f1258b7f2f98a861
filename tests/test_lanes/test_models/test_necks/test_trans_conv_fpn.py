"""The neck of CondLaneNet."""

import torch

from mmptq.lanes.models import DeformFPN, TransConvFPN


def features(batch: int = 1) -> list[torch.Tensor]:
    return [torch.rand(batch, c, *size) for c, size in ((4, (9, 13)), (6, (5, 7)), (8, (3, 4)))]


def test_outputs_lie_on_the_finest_levels_also_for_odd_sizes():
    outputs = TransConvFPN([4, 6, 8], 8)(features(2))
    assert [tuple(x.shape) for x in outputs] == [(2, 8, 9, 13), (2, 8, 5, 7)]
    assert len(TransConvFPN([4, 6, 8], 8, num_outs=3)(features())) == 3


def test_coarser_levels_reach_finer_ones_only():
    torch.manual_seed(0)
    neck = TransConvFPN([4, 6, 8], 8).eval()
    feats = features()
    with torch.no_grad():
        before = neck(feats)
        for level, expected in enumerate([[True, False], [True, True], [True, True]]):
            moved = [feat + 1 if i == level else feat for i, feat in enumerate(feats)]
            changed = [not torch.equal(a, b) for a, b in zip(neck(moved), before, strict=True)]
            assert changed == expected


def test_the_same_pyramid_as_that_of_ganet():
    neck, other = TransConvFPN([4, 6, 8], 8), DeformFPN([4, 6, 8], 8)
    shared = {name for name in neck.state_dict() if not name.startswith('fpn_convs')}
    assert shared <= other.state_dict().keys()

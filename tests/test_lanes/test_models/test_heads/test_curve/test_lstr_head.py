"""LSTR learns, decodes and treats images without lanes."""

import pytest
import torch
from lane_overfit import LANES, build, overfit, road_batch, road_sample, worst_miss
from mmengine.registry import DefaultScope

from mmptq.lanes.models import LSTRHead
from mmptq.lanes.models.heads.curve.projected_curve import projected_xs


@pytest.fixture(autouse=True)
def scope():
    DefaultScope.get_instance('lanes', scope_name='mmdet')


def small_lstr(**changes):
    """LSTR with a narrow ResNet at stride 16."""
    transformer = dict(type='LaneTransformer', embed_dims=32, dropout=0.0)
    return build(
        dict(
            type='LaneDetector',
            data_preprocessor=dict(type='DetDataPreprocessor', mean=[90.0] * 3, std=[50.0] * 3),
            backbone=dict(
                type='ReducedResNet',
                depth=18,
                base_channels=16,
                num_stages=3,
                strides=(1, 2, 2),
                dilations=(1, 1, 1),
                out_indices=(2,),
                norm_eval=False,
            ),
            lane_head=dict(type='LSTRHead', in_channels=64, transformer=transformer, num_rows=48)
            | changes,
        )
    )


def head() -> LSTRHead:
    return small_lstr().lane_head


def outputs_for(curve: list[float], logits=((-3.0, 3.0), (3.0, -3.0))) -> dict:
    return dict(
        logits=torch.tensor([logits]), curves=torch.tensor([curve, curve])[None, :2].float()
    )


@pytest.mark.slow
def test_learns_two_images_and_gives_the_lanes_back():
    loss_cls = dict(type='CrossEntropyLoss', loss_weight=10.0)
    model = small_lstr(num_queries=3, num_rows=24, loss_cls=loss_cls)
    first = overfit(model, steps=1, lr=4e-3)
    overfit(model, steps=100, lr=4e-3)
    last = overfit(model, steps=60, lr=1e-3)
    assert last['loss'] < first['loss'] / 5
    assert worst_miss(model) < 5


def test_decodes_a_curve_by_hand():
    # x = 0.25 + 0.5 * y from y = 0.3 to 0.9: 40 + 80 y pixels of 160, and y of 96.
    lanes = head().decode(outputs_for([0.3, 0.9, 0, 0, 0, 0.25, 0.5, 0]), [road_sample([])])
    (points,) = lanes[0]
    assert points[0].tolist() == pytest.approx([40 + 80 * 0.9, 0.9 * 96])
    assert points[-1].tolist() == pytest.approx([40 + 80 * 0.3, 0.3 * 96])
    assert (points[:, 1].diff() < 0).all()
    assert points[1:-1, 1].tolist() == pytest.approx([2.0 * row for row in range(43, 14, -1)])


def test_crossed_ends_give_no_lane():
    outputs = outputs_for([0.9, 0.3, 0, 0, 0, 0.25, 0.5, 0])
    assert head().decode(outputs, [road_sample([])]) == [[]]


def test_crossed_ends_of_weights_that_swap_them():
    swapped = outputs_for([0.9, 0.3, 0, 0, 0, 0.25, 0.5, 0])
    lstr = head()
    (expected,) = lstr.decode(outputs_for([0.3, 0.9, 0, 0, 0, 0.25, 0.5, 0]), [road_sample([])])[0]
    lstr.sort_ends = True
    (found,) = lstr.decode(swapped, [road_sample([])])[0]
    assert torch.equal(found, expected)


def test_a_third_logit_is_never_a_lane():
    curve = [0.3, 0.9, 0, 0, 0, 0.25, 0.5, 0]
    outputs = outputs_for(curve, logits=((0.0, 2.0, 9.0), (0.0, 2.0, -9.0)))
    lstr = small_lstr(num_logits=3).lane_head
    assert lstr.class_embed.out_features == 3
    assert len(lstr.decode(outputs, [road_sample([])])[0]) == 1


def test_likeliest_lanes_are_kept():
    outputs = outputs_for([0.3, 0.9, 0, 0, 0, 0.25, 0.5, 0], logits=((0.0, 2.0), (0.0, 1.0)))
    lstr = head()
    assert len(lstr.decode(outputs, [road_sample([])])[0]) == 2
    lstr.max_lanes = 1
    assert len(lstr.decode(outputs, [road_sample([])])[0]) == 1
    lstr.score_thr = 0.95
    assert lstr.decode(outputs, [road_sample([])]) == [[]]


def test_losses_by_hand():
    lstr = head()
    # A vertical lane at x = 80 from y = 48 to 96: the rows 24 to 47 of 48 are on it, and row 48
    # only if it reached it.
    sample = road_sample([[(80, 94), (80, 48)]])
    found = [0.4, 1.0, 0, 0, 0, 0.75, 0, 0]  # x is 0.25 off, the ends 0.1 and 2 / 96
    outputs = dict(
        logits=torch.tensor([[[0.0, 0.0], [0.0, 0.0]]]),
        curves=torch.tensor([[found, [0.0, 1, 0, 0, 0, 9, 0, 0]]]),
    )
    losses = lstr.loss_by_output(outputs, [sample])
    assert set(losses) == {'loss_cls', 'loss_curve', 'loss_top', 'loss_bottom'}
    assert losses['loss_cls'].item() == pytest.approx(3 * 0.693147)
    assert losses['loss_curve'].item() == pytest.approx(5 * 24 * 0.25)
    assert losses['loss_top'].item() == pytest.approx(2 * 0.1, abs=1e-6)
    assert losses['loss_bottom'].item() == pytest.approx(2 * 2 / 96, abs=1e-6)


def test_no_lanes_at_all():
    model = small_lstr()
    losses = overfit(model, steps=2, lr=1e-4, all_lanes=([], []))
    assert losses['loss_curve'] == losses['loss_top'] == losses['loss_bottom'] == 0
    assert losses['loss_cls'] > 0
    assert worst_miss(model, LANES) > 0
    assert len(model.test_step(road_batch(([], [])))) == 2


def test_more_lanes_than_queries_and_a_lane_between_two_rows():
    model = small_lstr(num_queries=2)
    lanes = [[(10 + 20 * i, 90), (20 + 20 * i, 40)] for i in range(4)]
    losses = overfit(model, steps=1, lr=1e-4, all_lanes=(lanes, [[(30, 94.8), (31, 94.2)]]))
    assert all(torch.tensor(value).isfinite() for value in losses.values())


def test_shared_coefficients_and_early_layers():
    lstr = head().train()
    outputs = lstr([torch.randn(2, 64, 6, 10)])
    assert outputs['logits'].shape == (2, 7, 2) and outputs['curves'].shape == (2, 7, 8)
    assert outputs['early_curves'].shape == (2, 1, 7, 8)
    assert torch.equal(outputs['curves'][:, :1, 2:6].expand(-1, 7, -1), outputs['curves'][..., 2:6])
    assert set(lstr.eval()([torch.randn(2, 64, 6, 10)])) == {'logits', 'curves'}
    assert projected_xs(outputs['curves'][..., 2:], lstr.rows).shape == (2, 7, 49)

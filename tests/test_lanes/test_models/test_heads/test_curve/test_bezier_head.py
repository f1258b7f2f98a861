"""BezierLaneNet learns, decodes and treats images without lanes."""

import pytest
import torch
from lane_overfit import build, overfit, road_sample, worst_miss
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope

from mmptq.lanes.models.heads.curve.bezier_curve import fit_bezier, sample_bezier

LINE = [[0.5, 1.0], [0.5, 0.8], [0.5, 0.6], [0.5, 0.4]]  # vertical in the middle


@pytest.fixture(autouse=True)
def scope():
    DefaultScope.get_instance('lanes', scope_name='mmdet')


def head(**changes):
    return MODELS.build(dict(type='BezierHead', in_channels=8, **changes))


def small_bezierlanenet(**changes):
    """BezierLaneNet with a narrow ResNet at stride 8."""
    return build(
        dict(
            type='LaneDetector',
            data_preprocessor=dict(type='DetDataPreprocessor', mean=[90.0] * 3, std=[50.0] * 3),
            backbone=dict(
                type='ResNet',
                depth=18,
                base_channels=8,
                num_stages=2,
                strides=(1, 2),
                dilations=(1, 1),
                out_indices=(1,),
                norm_eval=False,
            ),
            neck=dict(type='FeatureFlipNeck', in_channels=16, mid_channels=8),
            lane_head=dict(type='BezierHead', in_channels=16, window=5, lane_width=3) | changes,
        )
    )


def test_learns_two_images_and_gives_the_lanes_back():
    loss_cls = dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0)
    model = small_bezierlanenet(loss_cls=loss_cls)
    first = overfit(model, steps=1, lr=4e-3)
    overfit(model, steps=70, lr=4e-3)
    last = overfit(model, steps=40, lr=1e-3)
    assert last['loss'] < first['loss'] / 5
    assert worst_miss(model) < 4


def test_decodes_the_best_column_of_each_window_by_hand():
    logits = torch.full((1, 12), -9.0)
    logits[0, [2, 3, 9]] = torch.tensor([2.0, 3.0, 1.0])
    curves = torch.tensor(LINE).expand(1, 12, 4, 2)
    lanes = head(window=9, num_samples=5).decode(
        dict(logits=logits, curves=curves), [road_sample([])]
    )
    assert len(lanes[0]) == 2  # column 2 has a better neighbour
    assert (lanes[0][0][:, 0] == 80).all()
    assert (lanes[0][0][:, 1] / 96).tolist() == pytest.approx([1, 0.85, 0.7, 0.55, 0.4])
    limited = head(max_lanes=1).decode(dict(logits=logits, curves=curves), [road_sample([])])
    assert len(limited[0]) == 1
    strict = head(score_thr=0.99).decode(dict(logits=logits, curves=curves), [road_sample([])])
    assert strict == [[]]


def test_losses_by_hand():
    lane = [(80, 96 * 0.4)]
    sample = road_sample([[(80, 96), *lane]])
    logits = torch.tensor([[2.0, -9.0, -9.0, -9.0, 0.0]])
    curves = torch.tensor(LINE).repeat(1, 5, 1, 1)
    curves[..., 0] += 0.1  # of the width, everywhere
    losses = head(window=3).loss_by_output(dict(logits=logits, curves=curves), [sample])
    assert set(losses) == {'loss_cls', 'loss_curve'}
    # All columns are equally near: the one that scores highest, with its own loss, is the lane's.
    background = [0.4 * torch.log1p(torch.exp(x)).item() for x in logits[0, 1:]]
    expected = 0.1 * (torch.log1p(torch.exp(torch.tensor(-2.0))).item() + sum(background)) / 5
    assert losses['loss_cls'].item() == pytest.approx(expected, rel=1e-4)
    assert losses['loss_curve'].item() == pytest.approx(0.1, abs=1e-4)


def test_loss_of_the_mask_by_hand():
    sample = road_sample([])
    outputs = dict(
        logits=torch.zeros(1, 5), curves=torch.zeros(1, 5, 4, 2), mask=torch.zeros(1, 1, 6, 10)
    )
    losses = head().loss_by_output(outputs, [sample])
    assert losses['loss_mask'].item() == pytest.approx(0.75 * 0.4 * 0.693147)


def test_targets_are_the_fitted_curves():
    sample = road_sample([[(20, 90), (40, 60), (90, 30)]])
    points = head(num_samples=10)._target_points(sample) * torch.tensor([160.0, 96.0])
    expected = sample_bezier(torch.tensor(fit_bezier(sample.gt_lanes[0].numpy())), 10)
    assert torch.allclose(points[0].double(), expected, atol=1e-3)


def test_no_lanes_at_all():
    model = small_bezierlanenet()
    losses = overfit(model, steps=3, lr=1e-3, all_lanes=([], []))
    assert losses['loss_curve'] == 0 and losses['loss_cls'] > 0 and losses['loss_mask'] > 0
    assert all(torch.tensor(value).isfinite() for value in losses.values())


def test_x_from_the_middle_of_the_column():
    absolute, relative = head().eval(), head(x_from_column=True).eval()
    relative.load_state_dict(absolute.state_dict())
    feats = [torch.randn(2, 8, 3, 4)]
    moved = relative(feats)['curves'] - absolute(feats)['curves']
    for column, middle in enumerate((0.125, 0.375, 0.625, 0.875)):
        expected = torch.tensor([middle, 0.0]).expand(2, 4, 2)
        assert torch.allclose(moved[:, column], expected, atol=1e-6)


def test_mask_in_training_only():
    model = small_bezierlanenet()
    assert set(model.train()(torch.zeros(2, 3, 96, 160))) == {'logits', 'curves', 'mask'}
    outputs = model.eval()(torch.zeros(2, 3, 96, 160))
    assert {name: tuple(x.shape) for name, x in outputs.items()} == dict(
        logits=(2, 20), curves=(2, 20, 4, 2)
    )


def test_even_window():
    with pytest.raises(ValueError, match='odd window, got 8'):
        head(window=8)

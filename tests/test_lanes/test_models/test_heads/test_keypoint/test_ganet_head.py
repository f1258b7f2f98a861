"""GANet: losses and decoding by hand, and a model that overfits two images."""

import pytest
import torch
from lane_overfit import SIZE, build, overfit, road_batch, road_sample, worst_miss
from mmengine.registry import DefaultScope

from mmptq.lanes.models import GANetHead

MODEL = dict(
    type='LaneDetector',
    data_preprocessor=dict(type='DetDataPreprocessor', mean=[128] * 3, std=[64] * 3),
    backbone=dict(type='ResNet', depth=18, base_channels=8, out_indices=(1, 2, 3), norm_eval=False),
    neck=dict(
        type='DeformFPN',
        in_channels=[16, 32, 64],
        out_channels=16,
        aggregator=dict(feat_channels=16, stacked_convs=1),
    ),
    lane_head=dict(
        type='GANetHead', in_channels=16, num_curve_points=11, min_keypoints=3, max_distance=3.0
    ),
)
CELLS = (SIZE[1] // 8, SIZE[0] // 8)
LANE = [(44, 92), (84, 12)]  # keypoints in the middle of the cells from (5, 11) to (10, 1)


@pytest.fixture(autouse=True)
def scope():
    DefaultScope.get_instance('lanes', scope_name='mmdet')


def make(**settings) -> GANetHead:
    return GANetHead(in_channels=4, num_keypoints=11, num_curve_points=11, **settings)


def perfect_outputs() -> dict:
    """What the head should give for LANE; elsewhere offsets are absurd."""
    outputs = dict(
        heatmap=torch.full((1, 1, *CELLS), -20.0),
        offset=torch.full((1, 2, *CELLS), 99.0),
        compensation=torch.full((1, 2, *CELLS), 99.0),
    )
    for y in range(1, 12):
        x = 5.5 + (11 - y) / 2
        cell = int(x)
        outputs['heatmap'][0, 0, y, cell] = 20.0
        outputs['compensation'][0, :, y, cell] = torch.tensor([x - cell, 0.5])
        outputs['offset'][0, :, y, cell] = torch.tensor([5.5 - x, 11.0 - y])
    return outputs


def test_names_and_shapes_of_the_raw_outputs():
    head = make()
    feats = torch.zeros(2, 4, 3, 5), torch.zeros(2, 4, 3, 5), torch.zeros(2, 14, 3, 5)
    shapes = {name: tuple(value.shape) for name, value in head(feats).items()}
    expected = dict(heatmap=(2, 1, 3, 5), offset=(2, 2, 3, 5), compensation=(2, 2, 3, 5))
    assert shapes == dict(expected, points=(2, 14, 3, 5))
    assert set(head.eval()(feats)) == set(expected)


def test_perfect_outputs_are_decoded_to_the_lane():
    (lanes,) = make().decode(perfect_outputs(), [None])
    expected = [[8 * (5.5 + (11 - y) / 2), 8 * (y + 0.5)] for y in range(11, 0, -1)]
    assert len(lanes) == 1
    torch.testing.assert_close(lanes[0], torch.tensor(expected))


def test_lanes_of_few_keypoints_are_left_out():
    assert make(min_keypoints=11).decode(perfect_outputs(), [None]) == [[]]


def test_a_weaker_neighbour_in_the_row_is_no_keypoint():
    outputs = perfect_outputs()
    outputs['heatmap'][0, 0, 11, 6] = 10.0
    outputs['compensation'][0, :, 11, 6] = 0
    outputs['offset'][0, :, 11, 6] = 0
    assert make().decode(outputs, [None])[0][0][0].tolist() == [44, 92]


def test_perfect_outputs_cost_almost_nothing():
    head = make()
    sample = road_sample([LANE])
    losses = head.loss_by_output(perfect_outputs(), [sample])
    assert losses['loss_offset'].item() == pytest.approx(0, abs=1e-6)
    assert losses['loss_compensation'].item() == pytest.approx(0, abs=1e-6)
    # Clamped probabilities: the Gaussians beside the keypoints cost nothing.
    assert losses['loss_heatmap'].item() < 1e-6


def test_weights_and_means_of_the_losses():
    head = make()
    outputs = perfect_outputs()
    outputs['offset'] += torch.tensor([1.0, 3.0])[:, None, None]
    outputs['compensation'] += torch.tensor([1.0, 3.0])[:, None, None]
    losses = head.loss_by_output(outputs, [road_sample([LANE])])
    assert losses['loss_offset'].item() == pytest.approx(0.5 * (1 + 3) / 2, abs=1e-5)
    assert losses['loss_compensation'].item() == pytest.approx(1 + 3, abs=1e-5)


def test_points_on_the_lane_cost_nothing():
    head = make(loss_points=dict(type='L1Loss', loss_weight=1.0))
    outputs = perfect_outputs()
    points = torch.zeros(1, 3, 2, *CELLS)  # three points, y and x
    for y in range(1, 12):
        cell = 5 + (11 - y + 1) // 2
        targets = torch.tensor([[11.0, 5], [1, 10], [7, 7]])
        points[0, :, :, y, cell] = targets - torch.tensor([y, cell])
    outputs['points'] = points.flatten(1, 2)
    assert head.loss_by_output(outputs, [road_sample([LANE])])['loss_points'].item() == 0
    outputs['points'][:, 1] += 2  # x of the first point of three: 2 of 6 numbers on average
    loss = head.loss_by_output(outputs, [road_sample([LANE])])['loss_points'].item()
    assert loss == pytest.approx(2 / 6)


def test_images_without_lanes_train_the_heat_map_only():
    model = build(MODEL)
    data = model.data_preprocessor(road_batch(([], [])), True)
    losses = model(**data, mode='loss')
    sum(losses.values()).backward()
    assert losses.pop('loss_heatmap') > 0
    assert {name: loss.item() for name, loss in losses.items()} == dict.fromkeys(losses, 0)
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_overfits_two_images():
    model = build(MODEL)
    overfit(model, steps=60, lr=3e-3)
    assert worst_miss(model) < 2.0
    assert worst_miss(model, ([], [])) == 0.0

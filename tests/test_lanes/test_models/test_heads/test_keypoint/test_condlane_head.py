"""CondLaneNet: maps, losses and decoding by hand, and a model that learns two images."""

import pytest
import torch
from lane_overfit import SIZE, build, overfit, road_batch, road_sample, worst_miss
from mmengine.registry import DefaultScope

from mmptq.lanes.models import CondLaneHead

MODEL = dict(
    type='LaneDetector',
    data_preprocessor=dict(type='DetDataPreprocessor', mean=[128] * 3, std=[64] * 3),
    backbone=dict(type='ResNet', depth=18, base_channels=8, out_indices=(1, 2, 3), norm_eval=False),
    neck=dict(type='TransConvFPN', in_channels=[16, 32, 64], out_channels=16),
    lane_head=dict(
        type='CondLaneHead',
        in_channels=16,
        image_size=SIZE,
        feat_channels=16,
        radius=2,
        nms_radius=2.0,
    ),
)
ROWS, COLUMNS = SIZE[1] // 8, SIZE[0] // 8
# Cells (5.5, 11) to (10.5, 1): 0.5 cells of x per row, and its start in the heatmap.
LANE = [(44, 88), (84, 8)]
START = (2, 5)


@pytest.fixture(autouse=True)
def scope():
    DefaultScope.get_instance('lanes', scope_name='mmdet')


def make(**settings) -> CondLaneHead:
    """A head whose features are constant, so that kernels alone give the maps."""
    torch.manual_seed(0)
    settings = dict(in_channels=4, image_size=SIZE, feat_channels=2, nms_radius=2.0) | settings
    return CondLaneHead(**settings).eval()


def empty_outputs(batch: int = 1) -> dict:
    return dict(
        heatmap=torch.full((batch, 1, ROWS // 2, COLUMNS // 2), -20.0),
        location_kernel=torch.zeros(batch, 5, ROWS // 2, COLUMNS // 2),
        offset_kernel=torch.zeros(batch, 5, ROWS // 2, COLUMNS // 2),
        features=torch.zeros(batch, 2, ROWS, COLUMNS),
    )


def perfect_outputs() -> dict:
    """What the head should give for LANE: the first feature is a map of it, the second of offsets.

    Bias 2.19 makes up for what the maps subtract.
    """
    outputs = empty_outputs()
    x, y = START
    outputs['heatmap'][0, 0, y, x] = 20.0
    outputs['location_kernel'][0, [2, 4], y, x] = torch.tensor([100.0, 2.19])
    outputs['offset_kernel'][0, [3, 4], y, x] = torch.tensor([1.0, 2.19])
    for row in range(ROWS):
        lane = 5.5 + (11 - row) / 2
        column = int(lane - 0.5)
        # Two columns share the row, so that the mean is half a cell beside the lane.
        share = lane - 0.5 - column
        outputs['features'][0, 0, row] = -1
        outputs['features'][0, 0, row, column] = torch.tensor(1 - share).log() / 100
        outputs['features'][0, 0, row, column + 1] = torch.tensor(share).log().clamp(-99) / 100
        outputs['features'][0, 1, row] = lane - torch.arange(COLUMNS)
    return outputs


def reach_rows(head: CondLaneHead, first: int, last: int) -> None:
    """Replace the head's own range: rows ``first`` to ``last`` of every map."""
    logits = torch.full((ROWS, 2), 0.0)
    logits[:, 0], logits[first : last + 1, 1] = 10, 20
    head.row_range.forward = lambda maps: logits.expand(*maps.shape[:-1], 2)


def test_names_and_shapes_of_the_raw_outputs():
    feats = torch.zeros(2, 4, ROWS, COLUMNS), torch.zeros(2, 4, ROWS // 2, COLUMNS // 2)
    shapes = {name: tuple(value.shape) for name, value in make()(feats).items()}
    assert shapes == {name: tuple(x.shape) for name, x in empty_outputs(2).items()}


def test_maps_are_a_convolution_of_each_start():
    head = make()
    outputs = {name: torch.randn_like(x) for name, x in empty_outputs(2).items()}
    images, cells = torch.tensor([1, 0, 1]), torch.tensor([[2, 5], [9, 0], [0, 3]])
    maps = head.instance_maps(outputs, images, cells)
    y, x = torch.meshgrid(torch.arange(ROWS), torch.arange(COLUMNS), indexing='ij')
    for index, (image, (column, row)) in enumerate(zip(images, cells, strict=True)):
        inputs = torch.cat([torch.stack([x, y]), outputs['features'][image]])[None]
        for name in ('location', 'offset'):
            kernel = outputs[f'{name}_kernel'][image, :, row, column]
            expected = torch.nn.functional.conv2d(
                inputs, kernel[None, :-1, None, None], kernel[-1:] - 2.19
            )
            torch.testing.assert_close(maps[name][index], expected[0, 0], rtol=1e-4, atol=1e-4)
    assert maps['range'].shape == (3, ROWS, 2)


def test_gradients_of_the_maps_reach_kernels_and_features():
    head = make()
    outputs = {name: torch.randn_like(x).requires_grad_() for name, x in empty_outputs().items()}
    maps = head.instance_maps(outputs, torch.tensor([0]), torch.tensor([START]))
    sum(x.sum() for x in maps.values()).backward()
    assert outputs['heatmap'].grad is None
    assert outputs['features'].grad.abs().sum() > 0
    for name in ('location_kernel', 'offset_kernel'):
        touched = outputs[name].grad[0].abs().sum(0).nonzero()
        assert touched.tolist() == [[START[1], START[0]]]


def test_perfect_outputs_are_decoded_to_the_lane():
    head = make()
    reach_rows(head, 2, 10)
    (lanes,) = head.decode(perfect_outputs(), [None])
    assert len(lanes) == 1
    expected = [[8 * (5.5 + (11 - y) / 2), 8.0 * y] for y in range(11, 0, -1)]
    torch.testing.assert_close(lanes[0], torch.tensor(expected), rtol=0, atol=1e-3)


def test_a_lane_that_reaches_no_row_is_left_out():
    head = make()
    reach_rows(head, 5, 4)
    assert head.decode(perfect_outputs(), [None]) == [[]]


def test_one_lane_per_start_and_the_best_of_close_starts():
    head = make()
    reach_rows(head, 2, 10)
    outputs = perfect_outputs()
    outputs['heatmap'][0, 0, 3, 2] = 21.0  # two cells above: within the radius, and better
    outputs['heatmap'][0, 0, 5, 7] = 0.1
    outputs['heatmap'][0, 0, 5, 8] = -0.1  # below the threshold
    lanes = head.decode(outputs, [None])[0]
    assert len(lanes) == 2
    assert head.find_seeds(outputs['heatmap'], 0.5)[1][0].nonzero().tolist() == [[3, 2], [5, 7]]
    # Kernels of zeros: the middle of every row, moved by the bias of the offsets.
    assert lanes[0][:, 0].tolist() == pytest.approx([8 * (9 - 2.19)] * 11)


def test_given_maps_stand_in_for_those_of_their_cells():
    head = make()
    reach_rows(head, 2, 10)
    outputs = perfect_outputs()
    seeds = torch.tensor([[[7, 1], START]])
    maps = head.instance_maps(outputs, torch.tensor([0, 0]), seeds[0])
    given = {name: value[None].clone() for name, value in maps.items()}
    before = head.decode(outputs, [None])[0][0]
    given['offset'][0, 0] += 5  # no lane starts there
    assert torch.equal(head.decode(outputs | given | dict(seeds=seeds), [None])[0][0], before)
    given['offset'][0, 1] += 1
    moved = head.decode(outputs | given | dict(seeds=seeds), [None])[0][0]
    torch.testing.assert_close(moved, before + torch.tensor([8.0, 0.0]))


def test_perfect_outputs_cost_almost_nothing():
    head = make()
    reach_rows(head, 1, 11)
    losses = head.loss_by_output(perfect_outputs(), [road_sample([LANE])])
    assert losses.keys() == {'loss_heatmap', 'loss_location', 'loss_offset', 'loss_range'}
    assert max(value.item() for value in losses.values()) < 1e-3


def test_weights_and_means_of_the_losses():
    head = make()
    reach_rows(head, 1, 11)
    outputs = perfect_outputs()
    outputs['features'][:, 0] = outputs['features'][:, 0].roll(1, dims=2)  # by one cell
    outputs['offset_kernel'][0, 4, START[1], START[0]] += 2
    losses = head.loss_by_output(outputs, [road_sample([LANE])])
    assert losses['loss_location'].item() == pytest.approx(1, abs=1e-3)
    assert losses['loss_offset'].item() == pytest.approx(0.4 * 2, abs=1e-3)
    reach_rows(head, 1, 8)  # three of twelve rows are wrong by a margin of ten
    losses = head.loss_by_output(outputs, [road_sample([LANE])])
    assert losses['loss_range'].item() == pytest.approx(3 / 12 * 10, rel=1e-3)


def test_cells_around_a_start_learn_in_training_only():
    head = make(radius=4, num_seeds=4)
    targets = [head._targets(road_sample([LANE]), (ROWS, COLUMNS), (ROWS // 2, COLUMNS // 2))]
    assert head._training_seeds(targets)[1].tolist() == [list(START)]
    images, cells, columns, rows = head.train()._training_seeds(targets)
    assert len(images) == len(columns) == len(rows) == 4
    assert cells[0].tolist() == list(START)
    assert len({tuple(cell) for cell in cells.tolist()}) == 4
    assert all(abs(cell - START).max() <= 2 for cell in cells)


def test_images_without_lanes_train_the_heat_map_only():
    model = build(MODEL)
    data = model.data_preprocessor(road_batch(([], [])), True)
    losses = model(**data, mode='loss')
    sum(losses.values()).backward()
    assert losses.pop('loss_heatmap') > 0
    assert {name: loss.item() for name, loss in losses.items()} == dict.fromkeys(losses, 0)
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_two_images_are_learned():
    model = build(MODEL)
    overfit(model, steps=60, lr=3e-3)
    assert worst_miss(model) < 4.0
    assert worst_miss(model, ([], [])) == 0.0

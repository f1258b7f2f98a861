"""CLRNet: stages, losses by hand, decoding, and a model that overfits two images."""

import pytest
import torch
from lane_overfit import SIZE, build, overfit, road_batch, road_sample, worst_miss
from mmengine.registry import DefaultScope

from mmptq.lanes.models import CLRHead

MODEL = dict(
    type='LaneDetector',
    data_preprocessor=dict(type='DetDataPreprocessor', mean=[128] * 3, std=[64] * 3),
    backbone=dict(type='ResNet', depth=18, base_channels=8, out_indices=(1, 2, 3), norm_eval=False),
    neck=dict(type='FPN', in_channels=[16, 32, 64], out_channels=16, num_outs=3),
    lane_head=dict(
        type='CLRHead',
        in_channels=16,
        image_size=SIZE,
        num_priors=32,
        num_rows=36,
        gather=dict(num_points=9, mid_channels=8, context_size=(3, 5)),
        nms_distance=15.0,
        loss_iou=dict(type='LineIoULoss', radius=5.0, loss_weight=2.0),
    ),
)


@pytest.fixture(autouse=True)
def scope():
    DefaultScope.get_instance('lanes', scope_name='mmdet')


def small_head(**settings) -> CLRHead:
    """On 41x20 pixels and five rows, with 16 priors and three stages."""
    torch.manual_seed(0)
    gather = dict(num_points=3, mid_channels=4, context_size=(1, 2))
    return CLRHead(
        in_channels=4, image_size=(41, 20), num_priors=16, num_rows=5, gather=gather, **settings
    )


def pyramid() -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.randn(2, 4, *size) for size in ((8, 16), (4, 8), (2, 4))]


def outputs(lanes: dict[int, tuple[float, float, float, float]]) -> dict:
    """Raw outputs of upright lanes: by prior logit, first row, x in pixels and number of rows.

    All other priors are far outside of the image.
    """
    raw = dict(logits=torch.zeros(1, 16, 2), lines=torch.zeros(1, 16, 4))
    raw['logits'][..., 0] = 1.0
    raw['lines'][..., 1:3] = torch.tensor([-50.0, 0.5])
    for index, (logit, row, x, length) in lanes.items():
        raw['logits'][0, index, 1] = logit
        raw['lines'][0, index] = torch.tensor([row / 4, x / 40, 0.5, length / 4])
    return raw | dict(offsets=torch.zeros(1, 16, 5))


def test_names_and_shapes_of_the_raw_outputs():
    head = small_head()
    last = dict(logits=(2, 16, 2), lines=(2, 16, 4), offsets=(2, 16, 5))
    early = {f'early_{name}': (2, 2, *shape[1:]) for name, shape in last.items()}
    raw = head(pyramid())
    assert {k: tuple(v.shape) for k, v in raw.items()} == last | early | dict(mask=(2, 5, 8, 16))
    raw = head.eval()(pyramid())
    assert {name: tuple(value.shape) for name, value in raw.items()} == last


@pytest.mark.parametrize('training', [True, False])
def test_each_stage_moves_the_lines_of_the_one_before(training):
    head = small_head().train(training)
    torch.nn.init.zeros_(head.locate.weight)
    head.locate.bias.data.copy_(torch.tensor([0.1, 0.2, 0.05, 0.7]))
    raw = head(pyramid())
    lines = raw['lines'][:, None]
    if training:
        lines = torch.cat([raw['early_lines'], lines], dim=1)
    stages = (1, 2, 3) if training else (3,)
    for stage, got in zip(stages, lines[0], strict=True):
        moved = head.priors.weight + stage * head.locate.bias[:3]
        torch.testing.assert_close(got[:, :3], moved)
        assert (got[:, 3] == head.locate.bias[3]).all()


def test_stages_go_from_the_coarsest_level_to_the_finest():
    head = small_head().train()
    feats = pyramid()
    head.gather.dropout.p = 0.0
    before = head(feats)
    feats[0] = feats[0] + 1
    after = head(feats)
    same = [torch.equal(before['early_lines'][:, k], after['early_lines'][:, k]) for k in (0, 1)]
    assert same == [True, True]
    assert not torch.equal(before['lines'], after['lines'])


@pytest.mark.parametrize('training', [True, False])
def test_gradients_flow_through_lines_of_earlier_stages_only_in_a_test(training):
    head = small_head().train(training)
    head(pyramid())['lines'][..., 0].sum().backward()
    # The bias of the start moves each of 16 lines in two images once in the last stage.
    assert (head.locate.bias.grad[0].item() == 32) == training


def test_features_are_those_along_the_line():
    head = small_head()
    columns = torch.arange(5.0).expand(1, 4, 3, 5)
    rows = torch.tensor([0.0, 10, 20])[:, None].expand(1, 4, 3, 5)
    lines = torch.tensor([[[0.0, 0.25, 0.5], [0.0, 2.0, 0.5]]])
    sampled = head._sample(columns + rows, lines)
    assert sampled.shape == (1, 4, 2, 3)
    expected = torch.tensor([[1.0, 11, 21], [0, 0, 0]])  # top to bottom; zero outside
    torch.testing.assert_close(sampled[0, 0], expected, rtol=0, atol=1e-3)


def test_lanes_above_the_threshold_after_suppression():
    head = small_head(nms_distance=9.0, score_thr=0.5)
    lanes = {1: (3.0, 0, 30, 3), 2: (2.0, 0, 24, 4), 3: (1.1, 2, 10, 2), 4: (0.9, 0, 4, 5)}
    # Priors 1 and 2 are 6 apart, 4 is less likely than background; 3 is extended to the bottom.
    found = head.decode(outputs(lanes), [None])[0]
    expected = [
        [[30, 20], [30, 15], [30, 10]],
        [[10, 20], [10, 15], [10, 10], [10, 5]],
    ]
    assert len(found) == 2
    for lane, points in zip(found, expected, strict=True):
        torch.testing.assert_close(lane, torch.tensor(points).float(), rtol=0, atol=0.01)


def test_offsets_are_added_to_the_line():
    raw = outputs({1: (3.0, 0, 30, 3)})
    raw['offsets'][0, 1] = torch.tensor([0.1, 0, -0.1, 0, 0])
    (lane,) = small_head().decode(raw, [None])[0]
    expected = torch.tensor([[34.0, 20], [30, 15], [26, 10]])
    torch.testing.assert_close(lane, expected, rtol=0, atol=0.01)


def test_lanes_of_less_than_two_points_are_left_out():
    assert small_head().decode(outputs({1: (3.0, 0, 20, 1), 3: (3.0, 0, 8, -2)}), [None]) == [[]]


def test_losses_by_hand():
    head = small_head()
    sample = road_sample([[(20, 20), (20, 10)]])
    losses = head.loss_by_output(outputs({1: (0.0, 0, 24, 4)}), [sample])
    # Prior 1 is 4 pixels off and one row too long, smooth L1; IoU 26 / 34 with a radius of 15.
    assert losses['loss_line'].item() == pytest.approx(0.2 * (3.5 + 0.5) / 4, rel=1e-3)
    assert losses['loss_iou'].item() == pytest.approx(2 * (1 - 26 / 34), rel=1e-3)
    shorter = head.loss_by_output(outputs({1: (0.0, 1, 24, 2)}), [sample])
    # A start one row higher leaves a length of two rows, which is right then.
    assert shorter['loss_line'].item() == pytest.approx(0.2 * (3.5 + 0.5) / 4, rel=1e-3)


def test_classification_loss_is_divided_by_the_number_of_lanes():
    head = small_head()
    two = [[(20, 20), (20, 10)], [(36, 20), (36, 10)]]
    raw = outputs({1: (1.0, 0, 20, 3), 2: (1.0, 0, 36, 3)})
    one = head.loss_by_output(raw, [road_sample(two)])['loss_cls']
    none = head.loss_by_output(raw, [road_sample([])])['loss_cls']
    # Logits (1, 1) cost the same for both classes.
    assert one.item() == pytest.approx(none.item() / 2, rel=1e-4)


def test_images_without_lanes_train_the_classes_only():
    model = build(MODEL)
    data = model.data_preprocessor(road_batch(([], [])), True)
    losses = model(**data, mode='loss')
    sum(losses.values()).backward()
    assert losses['loss_cls'] > 0 and losses['loss_line'] == losses['loss_iou'] == 0
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.slow
def test_overfits_two_images():
    model = build(MODEL)
    overfit(model, steps=120, lr=4e-3)
    assert worst_miss(model) < 2.0
    assert worst_miss(model, ([], [])) == 0.0

"""LaneATT: attention, losses by hand, decoding, and a model that overfits two images."""

import pytest
import torch
from lane_overfit import SIZE, build, overfit, road_batch, road_sample, worst_miss
from mmengine.registry import DefaultScope

from mmptq.lanes.models import LaneATTHead
from mmptq.lanes.models.heads.anchor.laneatt_head import with_empty_diagonal

GENERATOR = dict(type='LaneAnchorGenerator', lateral_origins=8, bottom_origins=16)
MODEL = dict(
    type='LaneDetector',
    data_preprocessor=dict(type='DetDataPreprocessor', mean=[128] * 3, std=[64] * 3),
    backbone=dict(type='ResNet', depth=18, base_channels=8, out_indices=(3,), norm_eval=False),
    lane_head=dict(
        type='LaneATTHead',
        in_channels=64,
        image_size=SIZE,
        feat_channels=16,
        num_rows=36,
        num_anchors=100,
        anchor_generator=GENERATOR,
        positive_distance=8.0,
        negative_distance=12.0,
        train_nms_distance=2.0,
        nms_distance=15.0,
    ),
)


@pytest.fixture(autouse=True)
def scope():
    DefaultScope.get_instance('lanes', scope_name='mmdet')


def upright_head(**settings) -> LaneATTHead:
    """On 40x20 pixels and five rows, with upright anchors at x = 40, 30, 20, 10 and 0."""
    generator = dict(
        type='LaneAnchorGenerator',
        lateral_origins=0,
        bottom_origins=5,
        bottom_angles=[90],
    )
    return LaneATTHead(
        in_channels=3,
        image_size=(40, 20),
        stride=10,
        feat_channels=2,
        num_rows=5,
        num_anchors=5,
        anchor_generator=generator,
        **settings,
    )


def outputs(lanes: dict[int, list[float]]) -> dict:
    """Raw outputs: by anchor the logit of a lane, its length and an offset for all rows."""
    result = dict(logits=torch.zeros(1, 5, 2), reg=torch.zeros(1, 5, 6))
    result['logits'][..., 0] = 1.0
    for index, (logit, length, offset) in lanes.items():
        result['logits'][0, index, 1] = logit
        result['reg'][0, index] = torch.tensor([length] + [offset] * 5)
    return result


def test_attention_has_an_empty_diagonal():
    weights = torch.arange(1.0, 7).reshape(1, 3, 2)
    assert with_empty_diagonal(weights)[0].tolist() == [[0, 1, 2], [3, 0, 4], [5, 6, 0]]


def test_names_and_shapes_of_the_raw_outputs():
    raw = upright_head()((torch.zeros(2, 3, 2, 4),))
    assert {name: tuple(value.shape) for name, value in raw.items()} == dict(
        logits=(2, 5, 2), reg=(2, 5, 6)
    )


def test_features_are_those_of_the_anchor_and_of_all_others():
    head = upright_head()
    head.reduction.weight.data.fill_(1.0)
    head.attention.weight.data.zero_()  # all others count the same
    head.cls.weight.data.zero_()
    for layer in (head.reduction, head.attention, head.cls):
        layer.bias.data.zero_()
    head.cls.weight.data[0, :4] = 1.0  # attended features
    head.cls.weight.data[1, 4:] = 1.0  # own features
    cells = torch.tensor([1.0, 2, 4, 8]).expand(1, 3, 2, 4)
    own = torch.tensor([8.0, 8, 4, 2, 1]) * 3 * 4  # three channels, two rows of two features
    logits = head((cells,))['logits'][0]
    torch.testing.assert_close(logits[:, 1], own)
    torch.testing.assert_close(logits[:, 0], (own.sum() - own) / 4)


def test_lanes_above_the_threshold_after_suppression():
    head = upright_head(nms_distance=9.0, score_thr=0.5, max_lanes=4)
    raw = outputs({1: (3.0, 3, 1.0), 2: (2.0, 4, 4.0), 3: (1.1, 2, 0.0), 4: (0.9, 5, 0.0)})
    # Anchors 1 (x = 31) and 2 (x = 24) are 7 apart, 4 is less likely than background.
    lanes = head.decode(raw, [None])[0]
    assert [lane.tolist() for lane in lanes] == [
        [[31, 20], [31, 15], [31, 10]],
        [[10, 20], [10, 15]],
    ]


def test_lanes_of_less_than_two_points_are_left_out():
    assert upright_head().decode(outputs({1: (3.0, 1, 0.0), 3: (3.0, -2, 0.0)}), [None]) == [[]]


def test_a_lane_from_the_side_goes_on_below_while_it_is_inside():
    head = upright_head()
    head.anchors.all_starts[1] = 2.0
    raw = outputs({1: (3.0, 2, 0.0)})
    raw['reg'][0, 1, 1] = 20.0  # the lowest row is outside of the image
    lane = head.decode(raw, [None])[0][0]
    assert lane.tolist() == [[30, 15], [30, 10], [30, 5]]


def test_regression_loss_by_hand():
    head = upright_head(positive_distance=4.0, negative_distance=5.0)
    sample = road_sample([[(33, 20), (33, 10)]])
    raw = outputs({1: (0.0, 1.5, 0.0)})
    losses = head.loss_by_output(raw, [sample])
    # Anchor 1 at x = 30: length 3 instead of 1.5 and 3 pixels off on 3 of 5 rows, smooth L1.
    assert losses['loss_reg'].item() == pytest.approx((1.0 + 3 * 2.5) / 6)
    assert losses['loss_cls'].item() > 0


def test_a_right_prediction_costs_nothing_and_a_wrong_one_more():
    head = upright_head(positive_distance=4.0, negative_distance=5.0)
    sample = road_sample([[(33, 20), (33, 10)]])
    right = head.loss_by_output(outputs({1: (30.0, 3, 3.0)}), [sample])
    wrong = head.loss_by_output(outputs({3: (30.0, 3, 3.0)}), [sample])
    assert right['loss_reg'].item() == 0
    assert wrong['loss_cls'] > 10 * right['loss_cls']


def test_images_without_lanes_train_the_classes_only():
    model = build(MODEL)
    data = model.data_preprocessor(road_batch(([], [])), True)
    losses = model(**data, mode='loss')
    sum(losses.values()).backward()
    assert losses['loss_cls'] > 0 and losses['loss_reg'] == 0
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_overfits_two_images():
    model = build(MODEL)
    overfit(model, steps=150, lr=5e-3)
    assert worst_miss(model) < 2.0
    assert worst_miss(model, ([], [])) == 0.0

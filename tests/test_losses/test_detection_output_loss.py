"""The detection output loss, against values by hand."""

import math

import pytest
import torch
from mmengine.registry import MODELS

from mmptq.adapters import HeadOutput
from mmptq.losses import DetectionOutputLoss
from mmptq.losses.detection_output_loss import distances, divergence
from mmptq.quantization import QuantizationError


class FakeAdapter:
    """Raw outputs are HeadOutputs already."""

    def outputs(self, raw):
        return raw


def head(probabilities, boxes=None, regs=None, softmax=False) -> HeadOutput:
    """One image; ``probabilities`` is a row of class probabilities per position."""
    p = torch.tensor(probabilities)[None]
    scores = p.log() if softmax else p.logit()
    boxes = boxes if boxes is None else torch.tensor(boxes)[None]
    return HeadOutput('head', scores, regs or {}, boxes, softmax)


def compute(loss: DetectionOutputLoss, pred: list, target: list) -> float:
    made = loss.make_target(FakeAdapter(), target, {})
    return float(loss(FakeAdapter(), pred, {}, made))


def kl(q: float, p: float) -> float:
    return q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))


BOXES = [[0.0, 0, 10, 10], [0.0, 0, 10, 10], [5.0, 5, 9, 9]]
# The first box moves by half its width: IoU 1/3, and 0 is outside of both in the enclosing box.
MOVED = [[5.0, 0, 15, 10], [0.0, 0, 10, 10], [5.0, 5, 9, 9]]


def test_formula_by_hand():
    target = [head([[0.8, 0.1], [0.4, 0.2], [0.01, 0.02]], BOXES)]
    pred = [head([[0.6, 0.1], [0.4, 0.3], [0.03, 0.02]], MOVED)]
    foreground = kl(0.8, 0.6) + kl(0.2, 0.3)
    background = kl(0.01, 0.03)
    classification = (foreground + background) / (0.8 + 0.4)
    localisation = 0.8 * (1 - 1 / 3) / (0.8 + 0.4)
    loss = DetectionOutputLoss()
    assert compute(loss, pred, target) == pytest.approx(classification + localisation, rel=1e-4)
    loss = DetectionOutputLoss(loc_weight=3.0, background_weight=0.0, loss_weight=2.0)
    expected = 2 * (foreground / 1.2 + 3 * localisation)
    assert compute(loss, pred, target) == pytest.approx(expected, rel=1e-4)
    loss = DetectionOutputLoss(loc_weight=0.0, background_weight=0.0, confidence_weighted=True)
    expected = (0.8 * kl(0.8, 0.6) + 0.4 * kl(0.2, 0.3)) / 1.2
    assert compute(loss, pred, target) == pytest.approx(expected, rel=1e-4)


def test_heads_add_up():
    first = head([[0.8, 0.1]], [BOXES[0]])
    second = head([[0.6, 0.1]], [BOXES[0]])
    loss = DetectionOutputLoss()
    one = compute(loss, [second], [first])
    assert compute(loss, [second, second], [first, first]) == pytest.approx(2 * one, rel=1e-5)


def test_same_outputs_cost_nothing():
    output = head([[0.9, 0.1], [0.3, 0.2]], BOXES[:2])
    assert compute(DetectionOutputLoss(), [output], [output]) == pytest.approx(0, abs=1e-6)


def test_no_foreground_has_no_target():
    loss = DetectionOutputLoss(score_thr=0.5)
    assert loss.make_target(FakeAdapter(), [head([[0.4, 0.1]], BOXES[:1])], {}) is None
    assert loss.make_target(FakeAdapter(), [head([[0.6, 0.1]], BOXES[:1])], {}) is not None


def test_one_head_without_foreground_counts_its_background():
    empty, full = head([[0.01, 0.02]], BOXES[:1]), head([[0.8, 0.1]], BOXES[:1])
    other = head([[0.03, 0.02]], BOXES[:1])
    got = compute(DetectionOutputLoss(), [other, full], [empty, full])
    assert got == pytest.approx(kl(0.01, 0.03), rel=1e-3)  # divided by at least one


def test_softmax_divergence_leaves_background_out_of_the_foreground():
    target = head([[0.02, 0.03, 0.95]], softmax=True)
    assert DetectionOutputLoss.confidences(target).item() == pytest.approx(0.03)
    pred = head([[0.1, 0.1, 0.8]], softmax=True)
    expected = sum(
        q * math.log(q / p) for q, p in zip((0.02, 0.03, 0.95), (0.1, 0.1, 0.8), strict=True)
    )
    assert divergence(pred, target).item() == pytest.approx(expected, rel=1e-4)


def test_heads_without_image_boxes_compare_regressions():
    chosen = torch.tensor([[True, False]])
    target = head([[0.9], [0.9]], regs=dict(dim=torch.zeros(1, 2, 3), quality=torch.zeros(1, 2, 1)))
    regs = dict(dim=torch.tensor([[[0.5, 0, 2.0], [9, 9, 9]]]), quality=torch.ones(1, 2, 1))
    pred = head([[0.9], [0.9]], regs=regs)
    torch.testing.assert_close(distances(pred, target, chosen), torch.tensor([0.125 + 1.5]))


def test_divergence_of_extreme_logits_is_finite():
    target = HeadOutput('head', torch.tensor([[[-60.0, 60.0]]]))
    pred = HeadOutput('head', torch.tensor([[[60.0, -60.0]]]))
    torch.testing.assert_close(divergence(pred, target), torch.tensor([[120.0]]))


def test_gradients():
    target = [head([[0.8, 0.1]], BOXES[:1])]
    scores = torch.zeros(1, 1, 2, requires_grad=True)
    boxes = torch.tensor([MOVED[:1]], requires_grad=True)
    pred = [HeadOutput('head', scores, {}, boxes)]
    loss = MODELS.build(dict(type='DetectionOutputLoss'))
    loss(FakeAdapter(), pred, {}, loss.make_target(FakeAdapter(), target, {})).backward()
    assert scores.grad[0, 0, 0] < 0 < scores.grad[0, 0, 1]
    assert boxes.grad.abs().sum() > 0


def test_bad_options():
    with pytest.raises(QuantizationError, match='score_thr=1.5'):
        DetectionOutputLoss(score_thr=1.5)


def test_boxes_whose_sides_cross_over_keep_the_distance_in_bounds():
    torch.manual_seed(0)
    crossed = [head([[0.9]] * 50, (torch.rand(50, 4) * 10 - 5).tolist()) for _ in range(2)]
    distance = distances(*crossed, torch.ones(1, 50, dtype=torch.bool))
    assert (distance >= 0).all() and (distance <= 2).all()

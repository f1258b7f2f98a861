"""The top-K loss against logarithms by hand, and on the heads of every family."""

import math
from types import SimpleNamespace

import pytest
import torch
from lane_models import HEADS, build_lane_model, lane_batch
from mmengine.registry import MODELS
from stock_models import build_stock, image_batch, stock_config

from mmptq.adapters import HeadOutput, build_adapter
from mmptq.losses import TopKConfidenceLoss
from mmptq.quantization import QuantizationError


def adapter_of(*outputs, limit=None):
    return SimpleNamespace(outputs=lambda raw: outputs, response_limit=lambda name: limit)


def logits(*rows):
    """(1, N, C) logits of responses."""
    return torch.tensor([rows]).logit()


def test_mean_of_the_largest_of_each_channel():
    scores = logits([0.9, 0.1], [0.2, 0.3], [0.5, 0.2])
    found = TopKConfidenceLoss(k=2)(adapter_of(HeadOutput('head', scores)), None, {}, ())
    expected = -sum(map(math.log, (0.9, 0.5, 0.3, 0.2))) / 4
    assert found.keys() == {'head'}
    assert float(found['head']) == pytest.approx(expected, rel=1e-5)
    everything = TopKConfidenceLoss(k='all', loss_weight=2.0)
    found = everything(adapter_of(HeadOutput('head', scores)), None, {}, ())
    expected = -sum(map(math.log, (0.9, 0.5, 0.2, 0.3, 0.2, 0.1))) / 6
    assert float(found['head']) == pytest.approx(2 * expected, rel=1e-5)


def test_a_softmax_leaves_out_the_background():
    shares = torch.tensor([[[0.6, 0.1, 0.3], [0.2, 0.3, 0.5]]])
    output = HeadOutput('head', shares.log() + 7, softmax=True)
    found = TopKConfidenceLoss(k=1)(adapter_of(output), None, {}, ())
    assert float(found['head']) == pytest.approx(-(math.log(0.6) + math.log(0.3)) / 2, rel=1e-5)


def test_gradient_reaches_the_chosen_responses_only():
    scores = logits([0.9, 0.1], [0.2, 0.3], [0.5, 0.2]).requires_grad_()
    loss = TopKConfidenceLoss(k=1)(adapter_of(HeadOutput('head', scores)), None, {}, ())
    loss['head'].backward()
    # d(-log sigmoid(x)) / dx = sigmoid(x) - 1, over K C = 2.
    expected = torch.tensor([[[-0.05, 0.0], [0.0, -0.35], [0.0, 0.0]]])
    torch.testing.assert_close(scores.grad, expected)


def test_extreme_logits_are_finite_and_end_at_eps():
    scores = torch.tensor([[[500.0], [-500.0]]]).requires_grad_()
    loss = TopKConfidenceLoss(k='all')(adapter_of(HeadOutput('head', scores)), None, {}, ())
    assert float(loss['head']) == pytest.approx(-math.log(1e-4) / 2, rel=1e-5)
    loss['head'].backward()
    assert scores.grad.tolist() == [[[0.0], [0.0]]]


def test_k_is_the_limit_of_the_head_and_never_more_than_the_positions():
    scores = torch.linspace(-3, 3, 40).view(1, 40, 1)
    output = HeadOutput('head', scores)

    def value(limit, k=None):
        loss = TopKConfidenceLoss(k=k)
        return float(loss(adapter_of(output, limit=limit), None, {}, ())['head'])

    best = -torch.nn.functional.logsigmoid(scores).flatten().flip(0)
    assert value(3) == pytest.approx(float(best[:3].mean()), rel=1e-5)
    assert value(3, k=5) == pytest.approx(float(best[:5].mean()), rel=1e-5)
    assert value(100) == pytest.approx(float(best.mean()), rel=1e-5)
    assert value(None) == pytest.approx(float(best[:2].mean()), rel=1e-5)  # one in twenty


def test_an_image_without_proposals():
    scores = torch.zeros(1, 0, 3, requires_grad=True)
    loss = TopKConfidenceLoss()(adapter_of(HeadOutput('roi', scores, softmax=True)), None, {}, ())
    assert float(loss['roi']) == 0 and loss['roi'].requires_grad


def test_samples_without_a_response_are_left_out():
    adapter = adapter_of(HeadOutput('head', logits([0.04, 0.01])))
    assert TopKConfidenceLoss().make_target(adapter, None, {}) is None
    assert TopKConfidenceLoss(score_thr=0.03).make_target(adapter, None, {}) == ()
    assert TopKConfidenceLoss().needs_target and not TopKConfidenceLoss(score_thr=0).needs_target


@pytest.mark.parametrize('options', [dict(k=0), dict(k='most'), dict(k=True), dict(eps=0.0)])
def test_bad_options(options):
    with pytest.raises(QuantizationError, match="use k >= 1, 'all' or None"):
        TopKConfidenceLoss(**options)


def check_family(model, data, names, limits):
    """Parts by head output, with the limits of the heads, and a gradient at the scores."""
    adapter = build_adapter(model)
    loss = MODELS.build(dict(type='TopKConfidenceLoss', score_thr=0.0))
    raw = adapter.raw_outputs(data)
    assert [adapter.response_limit(output.name) for output in adapter.outputs(raw)] == limits
    parts = loss(adapter, raw, data, None)
    assert list(parts) == names
    assert all(part.dim() == 0 and part > 0 and part.requires_grad for part in parts.values())
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    gradients = torch.autograd.grad(sum(parts.values()), weights, allow_unused=True)
    assert all(x.isfinite().all() for x in gradients if x is not None)


@pytest.mark.parametrize(
    ('family', 'limit'), [('retinanet', 1000), ('atss', 1000), ('yolox', None)]
)
def test_dense_heads(family, limit):
    model = build_stock(stock_config(family))
    check_family(model, image_batch(model, num_images=2), ['bbox_head'], [limit])


def test_two_stage():
    model = build_stock(stock_config('faster_rcnn'))
    data = image_batch(model)
    check_family(model, data, ['rpn_head', 'roi_head.bbox_head'], [1000, 100])


@pytest.mark.parametrize('head', HEADS)
def test_lanes(head, tiny_lanes):
    model = build_lane_model(head)
    limits = dict(bezier=[4], laneatt=[4], lstr=[7], ganet=[None], segmentation=[None, None])
    limits |= dict(condlane=[None, None], clr=[4])
    names = ['lane_head']
    if head == 'segmentation':
        names = ['lane_head.seg', 'lane_head.exist']
    if head == 'condlane':
        names = ['lane_head.heatmap', 'lane_head.rows']
    check_family(model, lane_batch(model, tiny_lanes), names, limits[head])


def test_center_point():
    pytest.importorskip('mmdet3d')
    from lidar_models import random_scan, scan_batch, tiny_center_point

    model = tiny_center_point()
    names = ['pts_bbox_head.task0', 'pts_bbox_head.task1']
    check_family(model, scan_batch(model, random_scan()), names, [20, 20])

"""The head's own loss on float detections, for both families of LiDAR heads."""

import pytest
import torch

pytest.importorskip('mmdet3d')

from lidar_models import (  # noqa: E402
    random_scan,
    scan_batch,
    tiny_anchor_model,
    tiny_center_point,
)
from mmengine.registry import MODELS  # noqa: E402

from mmptq.adapters import build_adapter  # noqa: E402

LOSS = dict(type='GlobalPositiveLoss', score_thr=0.1, top_k=5, clip_at_float_loss=False)


@pytest.fixture(scope='module', params=['centerpoint', 'pointpillars'])
def case(request):
    if request.param == 'centerpoint':
        model, columns = tiny_center_point(), 5
    else:
        model, columns = tiny_anchor_model(), 4
    adapter = build_adapter(model)
    data = scan_batch(model, random_scan(columns=columns))
    with torch.no_grad():
        raw = adapter.raw_outputs(data)
    return adapter, raw, data


def test_sum_of_the_heads_losses_times_the_weight(case):
    adapter, raw, data = case
    loss = MODELS.build(LOSS)
    target = loss.make_target(adapter, raw, data)
    expected = sum(adapter.loss(raw, data, target.labels).values())
    torch.testing.assert_close(loss(adapter, raw, data, target), expected)
    half = MODELS.build(dict(LOSS, loss_weight=0.5, clip_at_float_loss=False))
    torch.testing.assert_close(half(adapter, raw, data, target), expected / 2)


def test_target_is_free_of_ground_truth_and_of_gradients(case):
    adapter, _, data = case
    raw = adapter.raw_outputs(data)  # with a graph
    (label,) = MODELS.build(LOSS).make_target(adapter, raw, data).labels
    assert not label.gt_instances_3d.bboxes_3d.tensor.requires_grad
    assert 'gt_instances_3d' not in data['data_samples'][0]
    assert label.gt_instances_3d.scores_3d.min() > 0.1


def test_loss_ends_at_what_float_costs(case):
    adapter, raw, data = case
    loss = MODELS.build(dict(LOSS, clip_at_float_loss=True))
    target = loss.make_target(adapter, raw, data)
    torch.testing.assert_close(
        target.float_loss, sum(adapter.loss(raw, data, target.labels).values())
    )
    assert float(loss(adapter, raw, data, target)) == 0
    weight = next(adapter.head.parameters())
    with torch.no_grad():
        weight.mul_(3)
        worse = adapter.raw_outputs(data)
        weight.div_(3)
    excess = sum(adapter.loss(worse, data, target.labels).values()) - target.float_loss
    torch.testing.assert_close(loss(adapter, worse, data, target), excess.clamp(min=0))


def test_no_detection_means_no_target(case):
    adapter, raw, data = case
    assert MODELS.build(dict(LOSS, score_thr=0.999)).make_target(adapter, raw, data) is None


def test_loss_leads_back_to_the_float_weights(case):
    adapter, raw, data = case
    loss = MODELS.build(LOSS)
    target = loss.make_target(adapter, raw, data)
    weight = next(adapter.head.parameters())
    moved = weight.detach().clone()
    with torch.no_grad():
        weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)) * 0.3)
    try:
        value = loss(adapter, adapter.raw_outputs(data), data, target)
        (gradient,) = torch.autograd.grad(value, weight)
        with torch.no_grad():
            weight.sub_(1e-3 * gradient / gradient.norm())
        assert loss(adapter, adapter.raw_outputs(data), data, target) < value
    finally:
        with torch.no_grad():
            weight.copy_(moved)

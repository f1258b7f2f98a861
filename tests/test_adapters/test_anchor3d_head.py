"""The adapter of PointPillars and SECOND."""

import pytest
import torch

pytest.importorskip('mmdet3d')

from adapter_checks import check_decode, check_parts  # noqa: E402
from lidar_models import random_scan, scan_batch, tiny_anchor_model  # noqa: E402

from mmptq.adapters import build_adapter  # noqa: E402
from mmptq.adapters.anchor3d_head import Anchor3DHeadAdapter  # noqa: E402


@pytest.fixture(scope='module', params=['pointpillars', 'second'])
def model(request, device):
    if request.param == 'second':
        pytest.importorskip('spconv')
    return tiny_anchor_model(request.param).to(device)


@pytest.fixture(scope='module')
def data(model):
    return scan_batch(model, random_scan(columns=4), random_scan(columns=4, seed=1))


def confident(model, data, logit=4.0):
    """Raw outputs in which anchor 2 at row 2, column 5 of the first scan is a detection."""
    raw = build_adapter(model).raw_outputs(data)
    raw = tuple([torch.zeros_like(x) for x in levels] for levels in raw)
    raw[0][0].fill_(-12.0)
    scores = raw[0][0].unflatten(1, (-1, model.bbox_head.num_classes))
    scores[0, 2, 0, 2, 5] = logit
    return raw


def test_outputs_are_positions_in_the_order_of_the_anchors(model, data):
    adapter = build_adapter(model)
    assert isinstance(adapter, Anchor3DHeadAdapter)
    raw = adapter.raw_outputs(data)
    (output,) = adapter.outputs(raw)
    assert output.scores.shape == (2, 8 * 8 * 6, 3)
    assert output.regs['bbox'].shape == (2, 8 * 8 * 6, 7)
    assert output.regs['direction'].shape == (2, 8 * 8 * 6, 2)
    (output,) = adapter.outputs(confident(model, data))
    scan, position, label = (output.scores > 0).nonzero()[0].tolist()
    assert (scan, position, label) == (0, (2 * 8 + 5) * 6 + 2, 0)


def test_a_batch_can_run_twice(model, data):
    adapter = build_adapter(model)
    first, second = adapter.raw_outputs(data), adapter.raw_outputs(data)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, second, strict=True))


def test_pseudo_label_is_the_anchor_of_a_zero_delta(model, data):
    adapter, raw = build_adapter(model), confident(model, data)
    first, second = adapter.pseudo_labels(raw, data, 0.1, 500)
    anchors = model.bbox_head.prior_generator.grid_anchors([(8, 8)], device='cpu')[0]
    expected = anchors.reshape(-1, 7)[(2 * 8 + 5) * 6 + 2]
    box = first.gt_instances_3d.bboxes_3d.tensor[0]
    assert len(first.gt_instances_3d) == 1
    torch.testing.assert_close(box[:6], expected[:6], atol=1e-5, rtol=0)
    assert len(second.gt_instances_3d) == 0


def test_own_detections_cost_no_regression(model, data):
    adapter, raw = build_adapter(model), confident(model, data)
    labels = adapter.pseudo_labels(raw, data, 0.1, 500)
    losses = adapter.loss(raw, data, labels)
    assert set(losses) == {'loss_cls', 'loss_bbox', 'loss_dir'}
    own = float(losses['loss_bbox'])
    raw[1][0] += 0.1
    assert float(adapter.loss(raw, data, labels)['loss_bbox']) > own + 1e-3
    raw[1][0].requires_grad_()
    raw[0][0].requires_grad_()
    sum(adapter.loss(raw, data, labels).values()).backward()
    touched = raw[1][0].grad.abs().sum((0, 1)).nonzero()
    # Anchors that overlap the box enough are positives too; the far cells are not.
    assert 0 < len(touched) < 10
    assert (touched - torch.tensor([2, 5])).abs().max() <= 1
    # Classification counts everywhere but at anchors between positive and negative.
    assert (raw[0][0].grad != 0).float().mean() > 0.9


def test_scans_without_a_box_have_a_loss_too(model, data):
    adapter, raw = build_adapter(model), confident(model, data, logit=-12.0)
    labels = adapter.pseudo_labels(raw, data, 0.1, 500)
    losses = adapter.loss(raw, data, labels)
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert float(losses['loss_bbox']) == 0


def test_top_k_keeps_the_best(model, data):
    raw = confident(model, data)
    scores = raw[0][0].unflatten(1, (-1, model.bbox_head.num_classes))
    scores[0, 4, 1, 6, 1] = 5.0
    (label, _) = build_adapter(model).pseudo_labels(raw, data, 0.1, 1)
    assert label.gt_instances_3d.labels_3d.tolist() == [1]


def test_parts(model, data):
    adapter = build_adapter(model)
    raw = adapter.raw_outputs(data)
    check_parts(adapter, raw)
    assert list(adapter.parts(raw)) == ['cls.0', 'bbox.0', 'direction.0']


def test_decode_is_prediction(model, data):
    adapter = build_adapter(model)
    with torch.no_grad():
        raw = adapter.raw_outputs(data)
    check_decode(model, adapter, raw, data, head='bbox')

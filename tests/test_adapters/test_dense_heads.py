"""Adapters of the dense heads of mmdet, against what the heads themselves compute."""

import copy

import pytest
import torch
from adapter_checks import check_backbone_gradients, check_decode, check_parts
from mmdet.models.dense_heads import RepPointsHead
from mmengine.logging import MessageHub
from stock_models import build_stock, image_batch, stock_config

from mmptq.adapters import build_adapter

FAMILIES = ['retinanet', 'sepbn', 'ssd', 'atss', 'fcos', 'gfl', 'rtmdet', 'yolox']
FAMILIES += ['tood', 'vfnet', 'reppoints', 'yolof']


@pytest.fixture(scope='module', params=FAMILIES)
def detector(request, device):
    family = request.param
    cfg = stock_config('retinanet' if family == 'sepbn' else family)
    if family == 'sepbn':
        cfg.bbox_head.update(type='RetinaSepBNHead', num_ins=5)
    if family == 'ssd':
        cfg.bbox_head.anchor_generator.input_size = 96
    model = build_stock(cfg, spread=0.5).to(device)
    return model, image_batch(model, num_images=2)


@pytest.fixture(scope='module')
def adapter(detector):
    return build_adapter(detector[0])


@pytest.fixture(scope='module')
def raw(detector, adapter):
    with torch.no_grad():
        return adapter.raw_outputs(detector[1])


def tensors(raw) -> list[torch.Tensor]:
    return [x for levels in raw for x in levels]


def test_raw_outputs_are_those_of_the_head(detector, raw):
    model, data = detector
    with torch.no_grad():
        expected = model.bbox_head(model.extract_feat(data['inputs']))
    for got, want in zip(tensors(raw), tensors(expected), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=0)


def test_nothing_runs_after_the_head(detector, adapter, raw, monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError('decoded')

    monkeypatch.setattr(type(detector[0].bbox_head), 'predict_by_feat', fail)
    found, expected = tensors(adapter.raw_outputs(detector[1])), tensors(raw)
    assert all(map(torch.equal, found, expected)) and len(found) == len(expected) > 0


def test_every_detection_is_a_position_of_the_outputs(detector, adapter, raw):
    (output,) = adapter.outputs(raw)
    positions = output.scores.shape[:2]
    assert output.boxes.shape == (*positions, 4)
    assert all(reg.shape[:2] == positions for reg in output.regs.values())
    assert output.probabilities().shape == (*positions, 5)
    labels = adapter.pseudo_labels(raw, detector[1], score_thr=0.0, top_k=8)
    height, width = detector[1]['data_samples'][0].batch_input_shape
    for boxes, probabilities, label in zip(
        output.boxes, output.probabilities(), labels, strict=True
    ):
        assert 4 < len(label.gt_instances) <= 8
        limits = boxes.new_tensor([width, height] * 2)
        clipped = torch.minimum(boxes.clamp(min=0), limits)
        for box, score, kind in zip(
            *(label.gt_instances[k] for k in ('bboxes', 'scores', 'labels')), strict=True
        ):
            same = ((boxes - box).abs().amax(1) < 1e-3) | ((clipped - box).abs().amax(1) < 1e-3)
            assert ((probabilities[same, kind] - score).abs() < 1e-4).any()


def test_pseudo_labels_are_the_best_ones(detector, adapter, raw):
    many = adapter.pseudo_labels(raw, detector[1], score_thr=0.0, top_k=20)[0].gt_instances
    assert (many.scores.diff() <= 0).all()
    threshold = float(many.scores[3])
    few = adapter.pseudo_labels(raw, detector[1], score_thr=threshold, top_k=20)[0].gt_instances
    assert torch.equal(few.scores, many.scores[many.scores > threshold])
    two = adapter.pseudo_labels(raw, detector[1], score_thr=0.0, top_k=2)[0].gt_instances
    assert torch.equal(two.scores, many.scores[:2])


def test_loss_is_the_loss_of_training(detector, adapter, raw):
    model, data = detector
    labels = adapter.pseudo_labels(raw, data, score_thr=0.0, top_k=3)
    before = [x.clone() for x in tensors(raw)]
    losses = adapter.loss(raw, data, labels)
    assert all(torch.equal(x, y) for x, y in zip(tensors(raw), before, strict=True))
    with torch.no_grad():
        expected = training_loss(model, data, copy.deepcopy(labels))
    for name, loss in losses.items():
        want = expected[name]
        want = want if isinstance(want, torch.Tensor) else sum(want)
        torch.testing.assert_close(loss, want.view_as(loss))


def training_loss(model, data, labels) -> dict:
    """What the head computes in training, with its BatchNorms as they are."""
    head, features = model.bbox_head, model.extract_feat(data['inputs'])
    hub = MessageHub.get_current_instance()
    hub.update_info('epoch', 100)  # TOOD has another assignment in its first epochs
    head.training = True  # the head alone
    try:
        if isinstance(head, RepPointsHead):  # its eval mode knows the refined points only
            scores, _, points = head(features)
            instances = [sample.gt_instances for sample in labels]
            metas = [sample.metainfo for sample in labels]
            return head.loss_by_feat(scores, points, points, instances, metas)
        return head.loss(features, labels)
    finally:
        head.training = False
        hub.pop_info('epoch')


def test_loss_on_an_image_without_boxes(detector, adapter, raw):
    data = detector[1]
    labels = adapter.pseudo_labels(raw, data, score_thr=2.0, top_k=3)
    assert all(len(label.gt_instances) == 0 for label in labels)
    assert all(loss.isfinite() for loss in adapter.loss(raw, data, labels).values())


def test_gradients_reach_the_backbone(detector, adapter):
    model, data = detector
    check_backbone_gradients(model, adapter, data)


def test_parts(adapter, raw):
    check_parts(adapter, raw)
    names = ['cls', 'bbox', 'quality'][: len(raw)]
    expected = {
        f'{name}.{i}': x
        for name, levels in zip(names, raw, strict=True)
        for i, x in enumerate(levels)
    }
    parts = adapter.parts(raw)
    assert list(parts) == list(expected)
    assert all(parts[name] is expected[name] for name in parts)
    assert list(adapter.head_groups(raw)) == names


def test_decode_is_prediction(detector, adapter, raw):
    model, data = detector
    check_decode(model, adapter, raw, data, head='bbox')

"""The adapter of YOLOv3: several quantities in one map."""

import copy

import pytest
import torch
from adapter_checks import check_decode, check_parts
from stock_models import build_stock, image_batch, stock_config

from mmptq.adapters import build_adapter


@pytest.fixture(scope='module')
def detector(device):
    cfg = stock_config('yolov3')
    cfg.test_cfg.update(score_thr=0.0, conf_thr=-1)
    model = build_stock(cfg, spread=2.0).to(device)
    return model, image_batch(model, num_images=2), build_adapter(model)


@pytest.fixture(scope='module')
def raw(detector):
    _, data, adapter = detector
    with torch.no_grad():
        return adapter.raw_outputs(data)


def test_parts_are_slices_of_the_maps(detector, raw):
    _, _, adapter = detector
    check_parts(adapter, raw)
    parts = adapter.parts(raw)
    assert list(adapter.head_groups(raw)) == ['bbox', 'quality', 'cls']
    anchors, numbers = 3, 5 + 5
    assert torch.equal(parts['quality.1'][:, 2, 0], raw[0][1][:, 2 * numbers + 4])
    assert torch.equal(parts['cls.0'][:, 1], raw[0][0][:, numbers + 5 : 2 * numbers])
    assert raw[0][0].shape[1] == anchors * numbers


def test_every_detection_is_a_position_of_the_outputs(detector, raw):
    _, data, adapter = detector
    (output,) = adapter.outputs(raw)
    labels = adapter.pseudo_labels(raw, data, score_thr=0.0, top_k=8)
    for boxes, probabilities, label in zip(
        output.boxes, output.probabilities(), labels, strict=True
    ):
        found = label.gt_instances
        assert 4 < len(found) <= 8
        for box, score, kind in zip(found.bboxes, found.scores, found.labels, strict=True):
            same = (boxes - box).abs().amax(1) < 1e-3
            assert ((probabilities[same, kind] - score).abs() < 1e-4).any()


def test_loss_is_the_loss_of_training(detector, raw):
    model, data, adapter = detector
    labels = adapter.pseudo_labels(raw, data, score_thr=0.0, top_k=3)
    before = [x.clone() for x in raw[0]]
    losses = adapter.loss(raw, data, labels)
    assert all(map(torch.equal, raw[0], before))
    with torch.no_grad():
        expected = model.bbox_head.loss(model.extract_feat(data['inputs']), copy.deepcopy(labels))
    assert losses.keys() == expected.keys() == {'loss_cls', 'loss_conf', 'loss_xy', 'loss_wh'}
    for name, loss in losses.items():
        torch.testing.assert_close(loss, sum(expected[name]))


def test_decode_is_prediction(detector, raw):
    model, data, adapter = detector
    check_decode(model, adapter, raw, data, head='bbox')

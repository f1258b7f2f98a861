"""Adapters of RTMDet-Ins and CondInst: boxes, and masks by kernels that each position makes."""

import copy

import pytest
import torch
from adapter_checks import assert_same, check_decode, check_parts
from stock_models import build_stock, image_batch, stock_config

from mmptq.adapters import build_adapter
from mmptq.adapters.instance_masks import to_bitmap

FAMILIES = ['condinst', pytest.param('rtmdet_ins', marks=pytest.mark.slow)]


@pytest.fixture(scope='module', params=FAMILIES)
def detector(request, device):
    cfg = stock_config(request.param)
    cfg.test_cfg.score_thr = 0.0
    model = build_stock(cfg, spread=1.0).to(device)
    return model, image_batch(model, num_images=2), build_adapter(model)


@pytest.fixture(scope='module')
def raw(detector):
    _, data, adapter = detector
    with torch.no_grad():
        return adapter.raw_outputs(data)


def test_parts(detector, raw):
    _, _, adapter = detector
    check_parts(adapter, raw, others=('mask_feat',))
    assert adapter.parts(raw)['mask_feat'] is raw[-1]


def test_outputs_are_positions(detector, raw):
    _, data, adapter = detector
    (output,) = adapter.outputs(raw)
    positions = output.scores.shape[:2]
    assert output.boxes.shape == (*positions, 4)
    assert {'bbox', 'kernel'} <= output.regs.keys()
    assert all(reg.shape[:2] == positions for reg in output.regs.values())


def test_pseudo_labels_have_the_masks_of_prediction(detector, raw):
    model, data, adapter = detector
    labels = adapter.pseudo_labels(raw, data, score_thr=0.0, top_k=5)
    with torch.no_grad():
        expected = model(**copy.deepcopy(data), mode='predict')
    for label, want in zip(labels, expected, strict=True):
        found, want = label.gt_instances, want.pred_instances
        assert 3 < len(found) <= 5
        torch.testing.assert_close(found.scores, want.scores[: len(found)])
        masks = found.masks.to_tensor(torch.bool, want.masks.device)
        height, width = want.masks.shape[1:]
        assert (masks[:, :height, :width] != want.masks[: len(found)]).float().mean() < 0.01


def test_loss_is_the_loss_of_training(detector, raw):
    model, data, adapter = detector
    labels = adapter.pseudo_labels(raw, data, score_thr=0.0, top_k=3)
    for label in labels:  # one object that is large enough for some position
        label.gt_instances.bboxes[0] = torch.tensor([10.0, 6.0, 80.0, 58.0])
    before = copy.deepcopy(raw)
    losses = adapter.loss(raw, data, labels)
    assert_same(raw, before)
    assert 'loss_mask' in losses and losses['loss_mask'] > 0
    batch, head = copy.deepcopy(labels), model.bbox_head
    features = model.extract_feat(data['inputs'])
    head.training = True
    with torch.no_grad():
        expected = head.loss(features, batch)
        if hasattr(model, 'mask_head'):
            infos = head.get_positive_infos()
            expected |= model.mask_head.loss(features, copy.deepcopy(labels), positive_infos=infos)
    head.training = False
    assert losses.keys() == expected.keys()
    for name, loss in losses.items():
        want = expected[name]
        want = want if isinstance(want, torch.Tensor) else sum(want)
        torch.testing.assert_close(loss, want.view_as(loss))


def test_loss_on_an_image_without_objects(detector, raw):
    _, data, adapter = detector
    labels = adapter.pseudo_labels(raw, data, score_thr=2.0, top_k=3)
    assert all(loss.isfinite() for loss in adapter.loss(raw, data, labels).values())


def test_decode_is_prediction(detector, raw):
    model, data, adapter = detector
    check_decode(model, adapter, raw, data, head='bbox')
    with torch.no_grad():
        (want, *_) = model(**copy.deepcopy(data), mode='predict')
    (found, *_) = adapter.decode(raw, data)
    assert torch.equal(found.pred_instances.masks, want.pred_instances.masks)
    other = adapter.with_parts(raw, {'mask_feat': 1e3 * raw[-1].flip(-1)})
    (found, *_) = adapter.decode(other, data)
    assert not torch.equal(found.pred_instances.masks, want.pred_instances.masks)


def test_masks_are_cut_and_padded_to_the_input():
    masks = torch.ones(2, 3, 5, dtype=torch.bool)
    found = to_bitmap(masks, (4, 4)).masks
    assert found.shape == (2, 4, 4)
    assert found[:, :3].all() and not found[:, 3].any()

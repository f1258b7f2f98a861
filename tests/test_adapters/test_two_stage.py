"""The adapter of Faster R-CNN."""

import copy

import pytest
import torch
from adapter_checks import check_backbone_gradients, check_decode, check_parts
from helpers import QUANTIZER
from mmengine.structures import InstanceData
from stock_models import build_stock, image_batch, stock_config

from mmptq.adapters import build_adapter
from mmptq.quantization import apply_plan, make_plan, quantized_layers, quantizers_off


@pytest.fixture(scope='module')
def detector(device):
    model = build_stock(stock_config('faster_rcnn'), spread=1.0).to(device)
    return model, image_batch(model, num_images=2), build_adapter(model)


@pytest.fixture
def case(detector):
    model, data, adapter = detector
    data = copy.deepcopy(data)
    with torch.no_grad():
        return model, data, adapter, adapter.raw_outputs(data)


def test_detections_are_positions_of_the_outputs(case):
    model, data, adapter, raw = case
    rpn, roi = adapter.outputs(raw)
    assert [rpn.name, roi.name] == adapter.head_names == ['rpn_head', 'roi_head.bbox_head']
    assert rpn.boxes.shape[:2] == rpn.scores.shape[:2]
    assert roi.probabilities().shape[-1] == 5
    with torch.no_grad():
        expected = model(**copy.deepcopy(data), mode='predict')
    labels = adapter.pseudo_labels(raw, data, score_thr=0.05, top_k=100)
    for label, want in zip(labels, expected, strict=True):
        assert len(label.gt_instances) > 0
        scale = torch.tensor(want.scale_factor, dtype=torch.float32).repeat(2)
        torch.testing.assert_close(label.gt_instances.scores, want.pred_instances.scores)
        torch.testing.assert_close(label.gt_instances.bboxes, want.pred_instances.bboxes * scale)


def test_boxes_of_the_roi_head_are_those_of_the_best_class(case):
    _, _, adapter, raw = case
    roi = adapter.outputs(raw)[1]
    index = 3
    label = roi.scores[0, index, :-1].argmax()
    assert label == raw['labels'][index]
    decoded = adapter.head.bbox_coder.decode(raw['rois'][:, 1:], raw['bbox_pred'])
    torch.testing.assert_close(roi.boxes[0, index], decoded[index].view(-1, 4)[label])


def test_images_with_fewer_proposals_are_padded(detector):
    _, data, adapter = detector
    data = copy.deepcopy(data)
    for sample, count in zip(data['data_samples'], (5, 2), strict=True):
        sample.proposals = InstanceData(
            bboxes=torch.tensor([[0.0, 0, 20, 30]]).repeat(count, 1),
            labels=torch.zeros(count).int(),
        )
    roi = adapter.outputs(adapter.raw_outputs(data))[1]
    assert roi.scores.shape[:2] == roi.boxes.shape[:2] == (2, 5)
    assert (roi.scores[1, 2:] == 0).all()


def test_proposals_are_those_of_the_float_model(detector):
    model, data, _ = copy.deepcopy(detector)
    adapter = build_adapter(model)
    first = copy.deepcopy(data)
    with torch.no_grad():
        adapter.raw_outputs(first)
        apply_plan(model, make_plan(model, QUANTIZER, lambda: model(**data, mode='predict')))
        for layer in quantized_layers(model).values():  # coarse, so that its own would differ
            for slot in (layer.weight_quantizer, layer.input_quantizer):
                slot.set_qparams(torch.tensor([0.1]), torch.tensor([0]))
        second = copy.deepcopy(data)
        raw = adapter.raw_outputs(second)
        again = adapter.raw_outputs(second)
        with quantizers_off(model):
            float_raw = adapter.raw_outputs(second)
    # Folding of BatchNorms moves boxes a little.
    for one, two in zip(first['data_samples'], second['data_samples'], strict=True):
        torch.testing.assert_close(one.proposals.bboxes, two.proposals.bboxes, rtol=0, atol=0.01)
    assert torch.equal(raw['rois'], float_raw['rois'])
    assert torch.equal(raw['cls_score'], again['cls_score'])
    assert not torch.equal(raw['cls_score'], float_raw['cls_score'])


def test_loss_of_right_and_of_wrong_labels(case):
    _, data, adapter, raw = case
    before = raw['cls_score'].clone()
    labels = adapter.pseudo_labels(raw, data, score_thr=0.3, top_k=3)
    torch.manual_seed(0)  # the RPN samples anchors at random
    losses = adapter.loss(raw, data, labels)
    assert set(losses) >= {'loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox'}
    assert all(loss.isfinite() for loss in losses.values())
    assert torch.equal(raw['cls_score'], before)
    images = raw['rois'][:, 0]
    for index, label in enumerate(labels):  # objects exactly where some proposals are
        chosen = (images == index).nonzero()[:3, 0]
        label.gt_instances = InstanceData(
            bboxes=raw['rois'][chosen, 1:], labels=raw['cls_score'][chosen, :-1].argmax(1)
        )
    wrong = copy.deepcopy(labels)
    for index, label in enumerate(wrong):
        chosen = (images == index).nonzero()[:3, 0]
        label.gt_instances.labels = raw['cls_score'][chosen, :-1].argmin(1)
    right = adapter.loss(raw, data, labels)['loss_cls']
    assert right < adapter.loss(raw, data, wrong)['loss_cls']


def test_loss_of_the_roi_head_by_hand(case):
    _, data, adapter, raw = case
    labels = adapter.pseudo_labels(raw, data, score_thr=2.0, top_k=3)  # no objects at all
    loss = adapter.loss(raw, data, labels)['loss_cls']
    background = -raw['cls_score'].log_softmax(1)[:, -1].mean()
    torch.testing.assert_close(loss, background)


def test_gradients_reach_the_backbone(detector):
    model, data, adapter = detector
    check_backbone_gradients(model, adapter, data)


def test_parts(case):
    _, _, adapter, raw = case
    check_parts(adapter, raw)
    heads = ['rpn.cls', 'rpn.bbox', 'roi.cls', 'roi.bbox']
    assert list(adapter.head_groups(raw)) == heads
    assert adapter.parts(raw)['rpn.bbox.2'] is raw['rpn'][1][2]
    assert adapter.parts(raw)['roi.cls'] is raw['cls_score']


def test_decode_is_prediction(case):
    model, data, adapter, raw = case
    check_decode(model, adapter, raw, data, head='roi.bbox')


def test_decode_keeps_the_proposals(case):
    _, data, adapter, raw = case
    levels = {name: x * 2 for name, x in adapter.parts(raw).items() if name.startswith('rpn')}
    changed = adapter.with_parts(raw, levels)
    assert torch.equal(changed['rois'], raw['rois'])
    one, other = adapter.decode(changed, data), adapter.decode(raw, data)
    for sample, want in zip(one, other, strict=True):
        assert torch.equal(sample.pred_instances.bboxes, want.pred_instances.bboxes)

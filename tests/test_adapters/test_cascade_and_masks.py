"""Adapters of Cascade R-CNN and of mask heads: rows of the float model's boxes."""

import copy

import pytest
import torch
from adapter_checks import check_backbone_gradients, check_decode, check_parts
from helpers import QUANTIZER
from stock_models import build_stock, image_batch, stock_config

from mmptq.adapters import build_adapter
from mmptq.quantization import apply_plan, make_plan, quantized_layers, quantizers_off

FAMILIES = ['mask_rcnn', 'cascade_mask_rcnn', pytest.param('cascade_rcnn', marks=pytest.mark.slow)]
BOX_HEAD, MASK_HEAD = 'roi_head.bbox_head', 'roi_head.mask_head'


@pytest.fixture(scope='module', params=FAMILIES)
def detector(request, device):
    model = build_stock(stock_config(request.param), spread=1.0).to(device)
    return model, image_batch(model, num_images=2), build_adapter(model)


@pytest.fixture
def case(detector):
    model, data, adapter = detector
    data = copy.deepcopy(data)
    with torch.no_grad():
        return model, data, adapter, adapter.raw_outputs(data)


def masks_of(raw) -> list[torch.Tensor]:
    masks = raw.get('mask', [])
    return masks if isinstance(masks, list) else [masks]


def test_each_head_is_an_output(case):
    _, _, adapter, raw = case
    outputs = adapter.outputs(raw)
    assert [output.name for output in outputs] == adapter.head_names
    stages = [output for output in outputs if output.name.startswith(BOX_HEAD)]
    assert len(stages) == (3 if 'stages' in raw else 1)
    for output in stages:
        assert output.boxes.shape == (*output.scores.shape[:2], 4)
        assert output.probabilities().shape[-1] == 5
    masks = [output for output in outputs if output.name.startswith(MASK_HEAD)]
    assert len(masks) == len(masks_of(raw))
    for output, logits in zip(masks, masks_of(raw), strict=True):
        assert output.scores.shape == (2, 16 * 28 * 28, 1)
        row, label = 16 + 3, raw['mask_labels'][16 + 3]  # the fourth box of the second image
        found = output.scores[1, :, 0].view(16, 28, 28)[3]
        assert torch.equal(found, logits[row, label])


def test_parts(case):
    _, _, adapter, raw = case
    check_parts(adapter, raw)
    groups = list(adapter.head_groups(raw))
    if 'stages' in raw:
        expected = [f'roi.{i}.{name}' for i in range(3) for name in ('cls', 'bbox')]
        expected += [f'roi.{i}.mask' for i in range(len(masks_of(raw)))]
    else:
        expected = ['roi.cls', 'roi.bbox', 'roi.mask']
    assert groups == ['rpn.cls', 'rpn.bbox', *expected]


def test_decode_is_prediction(case):
    model, data, adapter, raw = case
    check_decode(model, adapter, raw, data, head='roi.2.bbox' if 'stages' in raw else 'roi.bbox')


def test_rows_are_those_of_the_float_model(detector):
    model, data, _ = copy.deepcopy(detector)
    adapter = build_adapter(model)
    with torch.no_grad():
        apply_plan(model, make_plan(model, QUANTIZER, lambda: model(**data, mode='predict')))
        for layer in quantized_layers(model).values():  # coarse, so that its own would differ
            for slot in (layer.weight_quantizer, layer.input_quantizer):
                slot.set_qparams(torch.tensor([0.1]), torch.tensor([0]))
        raw = adapter.raw_outputs(data)
        with quantizers_off(model):
            float_raw = adapter.raw_outputs(data)
    stages = zip(raw.get('stages', [raw]), float_raw.get('stages', [float_raw]), strict=True)
    for one, other in stages:
        assert torch.equal(one['rois'], other['rois'])
        assert not torch.equal(one['cls_score'], other['cls_score'])
    for one, other in zip(masks_of(raw), masks_of(float_raw), strict=True):
        assert one.shape == other.shape and not torch.equal(one, other)
    if 'mask_rois' in raw:
        assert torch.equal(raw['mask_rois'], float_raw['mask_rois'])


def test_the_loss_of_masks_by_hand(case):
    _, data, adapter, raw = case
    if not masks_of(raw):
        pytest.skip('no masks')
    labels = adapter.pseudo_labels(raw, data, score_thr=0.0, top_k=3)
    losses = adapter.loss(raw, data, labels)
    cascade = 'stages' in raw
    name, weight = ('s1.loss_mask', 0.5) if cascade else ('loss_mask', 1.0)
    logits = masks_of(raw)[1 if cascade else 0]
    rows = torch.arange(len(logits))
    logits = logits[rows, raw['mask_labels']]
    # The targets are the masks themselves: the loss of an answer that is right everywhere.
    expected = torch.nn.functional.softplus(-logits.abs()).mean()
    torch.testing.assert_close(losses[name], weight * expected)


def test_loss_of_all_heads(case):
    _, data, adapter, raw = case
    before = copy.deepcopy(raw)
    for threshold in (0.0, 2.0):  # with objects, and without
        labels = adapter.pseudo_labels(raw, data, score_thr=threshold, top_k=3)
        torch.manual_seed(0)  # the RPN samples anchors at random
        losses = adapter.loss(raw, data, labels)
        stages = [f's{i}.' for i in range(3)] if 'stages' in raw else ['']
        wanted = {f'{stage}{name}' for stage in stages for name in ('loss_cls', 'loss_bbox')}
        assert losses.keys() >= {'loss_rpn_cls', 'loss_rpn_bbox', *wanted}
        assert all(loss.isfinite() for loss in losses.values())
    for one, other in zip(before.get('stages', [before]), raw.get('stages', [raw]), strict=True):
        assert torch.equal(one['cls_score'], other['cls_score'])


def test_gradients_reach_the_backbone(detector):
    model, data, adapter = detector
    check_backbone_gradients(model, adapter, data)


def test_images_without_proposals(detector):
    _, data, adapter = detector
    data = copy.deepcopy(data)
    for sample in data['data_samples']:
        sample.set_metainfo(dict(img_shape=(0, 0)))  # the RPN clips all boxes away
    with torch.no_grad():
        raw = adapter.raw_outputs(data)
    assert len(raw['labels']) == 0
    outputs = adapter.outputs(raw)
    assert all(output.scores.shape[:2] == (2, 0) for output in outputs[1:])
    for sample in data['data_samples']:
        sample.set_metainfo(dict(img_shape=sample.batch_input_shape))
    labels = adapter.pseudo_labels(raw, data, score_thr=0.0, top_k=3)
    assert all(loss.isfinite() for loss in adapter.loss(raw, data, labels).values())

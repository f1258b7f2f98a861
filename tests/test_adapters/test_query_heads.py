"""The adapter of DETR and its successors, against what the detectors themselves compute."""

import copy

import pytest
import torch
from adapter_checks import check_decode, check_parts
from helpers import QUANTIZER
from stock_models import QUERY_STOCK, build_stock, image_batch, query_config

from mmptq.adapters import QueryHeadAdapter, build_adapter
from mmptq.adapters.query_head import CHOSEN
from mmptq.quantization import QuantizationError, apply_plan, make_plan, quantized_layers

TWO_STAGE = ('deformable_two_stage', 'dino')


@pytest.fixture(scope='module', params=list(QUERY_STOCK))
def detector(request, device):
    model = build_stock(query_config(request.param)).to(device)
    return request.param, model, image_batch(model, num_images=2)


@pytest.fixture
def case(detector):
    family, model, data = detector
    data, adapter = copy.deepcopy(data), build_adapter(model)
    with torch.no_grad():
        return family, model, data, adapter, adapter.raw_outputs(data)


def test_family(case):
    family, _, data, adapter, raw = case
    assert type(adapter) is QueryHeadAdapter
    assert raw['cls'].shape == (2, 12, 5 + (family == 'detr'))
    assert raw['bbox'].shape == (2, 12, 4) and raw['scale'].shape == (2, 4)
    assert all((CHOSEN in sample) == (family in TWO_STAGE) for sample in data['data_samples'])


def test_detections_are_queries(case):
    _, model, data, adapter, raw = case
    (output,) = adapter.outputs(raw)
    assert output.probabilities().shape == (2, 12, 5)
    with torch.no_grad():
        expected = model(**copy.deepcopy(data), mode='predict')
    labels = adapter.pseudo_labels(raw, data, score_thr=0.0, top_k=6)
    for index, (label, want) in enumerate(zip(labels, expected, strict=True)):
        found = label.gt_instances
        assert len(found) == 6
        torch.testing.assert_close(found.scores, want.pred_instances.scores[:6])
        height, width = want.img_shape
        limits = output.boxes.new_tensor([width, height] * 2)
        boxes = torch.minimum(output.boxes[index].clamp(min=0), limits)
        for box, score, kind in zip(found.bboxes, found.scores, found.labels, strict=True):
            same = (boxes - box).abs().amax(1) < 1e-3
            assert ((output.probabilities()[index, same, kind] - score).abs() < 1e-5).any()


def test_parts_and_decode(case):
    _, model, data, adapter, raw = case
    check_parts(adapter, raw)
    assert adapter.head_groups(raw) == dict(cls=['cls'], bbox=['bbox'])
    check_decode(model, adapter, raw, data, head='bbox')
    assert adapter.response_limit('bbox_head') == 12


def test_loss_is_that_of_the_head(case):
    _, model, data, adapter, raw = case
    labels = adapter.pseudo_labels(raw, data, score_thr=0.0, top_k=3)
    free = {key: raw[key].clone().requires_grad_() for key in ('cls', 'bbox')}
    losses = adapter.loss(adapter.with_parts(raw, free), data, labels)
    assert losses.keys() == {'loss_cls', 'loss_bbox', 'loss_iou'}
    sum(losses.values()).backward()
    assert all(part.grad.abs().sum() > 0 for part in free.values())
    # Queries that predict these boxes have next to no error in them: boxes are cut at the border.
    moved = adapter.loss(adapter.with_parts(raw, dict(bbox=raw['bbox'] + 0.05)), data, labels)
    assert losses['loss_bbox'] < 0.5 * moved['loss_bbox']
    assert losses['loss_iou'] < 0.5 * moved['loss_iou']
    empty = [type(x)(metainfo=x.metainfo, gt_instances=x.gt_instances[:0]) for x in labels]
    assert torch.isfinite(sum(adapter.loss(raw, data, empty).values()))


def test_queries_are_those_of_the_float_model(detector):
    family, model, data = detector
    if family not in TWO_STAGE:
        pytest.skip('its queries do not depend on the image')
    model = copy.deepcopy(model)
    adapter = build_adapter(model)
    first, second = copy.deepcopy(data), copy.deepcopy(data)
    with torch.no_grad():
        before = adapter.raw_outputs(first)
        expected = model(**copy.deepcopy(data), mode='predict')
        for sample, want in zip(adapter.decode(before, first), expected, strict=True):
            assert torch.equal(sample.pred_instances.scores, want.pred_instances.scores)
        apply_plan(model, make_plan(model, QUANTIZER, lambda: model(**data, mode='predict')))
        for layer in quantized_layers(model).values():  # coarse, so that its own would differ
            for slot in (layer.weight_quantizer, layer.input_quantizer):
                slot.set_qparams(torch.tensor([0.1]), torch.tensor([0]))
        adapter.raw_outputs(second)
        for one, other in zip(first['data_samples'], second['data_samples'], strict=True):
            assert torch.equal(one.get(CHOSEN), other.get(CHOSEN))
        own = adapter._choose(copy.deepcopy(data))
    assert not torch.equal(own, torch.stack([x.get(CHOSEN) for x in second['data_samples']]))
    assert 'pre_decoder' not in vars(model)


def test_other_heads_are_refused():
    cfg = query_config('deformable_detr')
    model = build_stock(cfg)

    class OtherHead(type(model.bbox_head)):
        def forward(self, *args):
            return super().forward(*args)

    model.bbox_head.__class__ = OtherHead
    with pytest.raises(QuantizationError, match='no adapter for DeformableDETR with OtherHead'):
        build_adapter(model)


def test_loss_needs_training_settings():
    cfg = query_config('deformable_detr')
    cfg.train_cfg = None
    model = build_stock(cfg)
    adapter, data = build_adapter(model), image_batch(model)
    with torch.no_grad():
        raw = adapter.raw_outputs(data)
    labels = adapter.pseudo_labels(raw, data, score_thr=0.0, top_k=3)
    with pytest.raises(QuantizationError, match="'bbox_head' has no train_cfg"):
        adapter.loss(raw, data, labels)

"""The adapter of PETR and DETR3D, on stand-ins with their names and calls."""

import copy

import pytest
import torch
from adapter_checks import check_parts, predictions
from query_models_3d import CAMERAS, DETR3D, PETR, build_projects, camera_batch

from mmptq.adapters import QueryHead3DAdapter, build_adapter
from mmptq.ptq.inputs.model_inputs import run_model


@pytest.fixture(params=[PETR, DETR3D])
def model(request):
    return build_projects(request.param)


@pytest.mark.parametrize('batch', [1, 2])
def test_outputs_are_queries(model, batch):
    adapter, data = build_adapter(model), camera_batch(batch)
    assert type(adapter) is QueryHead3DAdapter
    with torch.no_grad():
        raw = adapter.raw_outputs(data)
        again = adapter.raw_outputs(data)
    assert data['inputs']['imgs'].shape[:2] == (batch, CAMERAS)  # not squeezed for the next run
    assert torch.equal(again['cls'], raw['cls'])
    (output,) = adapter.outputs(raw)
    assert output.scores.shape == (batch, 6, 3) and output.regs['bbox'].shape == (batch, 6, 10)
    assert output.boxes is None
    check_parts(adapter, raw)
    with torch.no_grad():
        expected = run_model(model, copy.deepcopy(data))
    found = adapter.decode(raw, data)
    labels = adapter.pseudo_labels(raw, data, score_thr=0.0, top_k=3)
    for sample, label, want in zip(found, labels, expected, strict=True):
        assert all(map(torch.equal, predictions(sample), predictions(want)))
        boxes = want.pred_instances_3d.bboxes_3d.tensor[:3]
        assert torch.equal(label.gt_instances_3d.bboxes_3d.tensor, boxes)


def test_loss_is_the_mean_of_the_samples(model):
    adapter, data = build_adapter(model), camera_batch(2)
    with torch.no_grad():
        raw = adapter.raw_outputs(data)
    labels = adapter.pseudo_labels(raw, data, score_thr=0.0, top_k=1)
    free = {key: value.clone().requires_grad_() for key, value in raw.items()}
    losses = adapter.loss(free, data, labels)
    assert losses.keys() == {'loss_cls', 'loss_bbox'}
    torch.testing.assert_close(losses['loss_cls'], raw['cls'].sigmoid().mean())
    sum(losses.values()).backward()
    assert all(value.grad.abs().sum() > 0 for value in free.values())

"""Adapters of 3D detectors whose configs are only in mmdet3d's own folders, narrowed."""

import copy
import sys

import pytest
import torch

pytest.importorskip('mmdet3d')

from adapter_checks import check_backbone_gradients, check_decode, check_parts  # noqa: E402
from helpers import ROOT  # noqa: E402

from mmptq.adapters import build_adapter  # noqa: E402

CASES = {
    # folder, config, how much smaller the area is
    'ssn': ('ssn', 'ssn_hv_secfpn_sbn-all_16xb2-2x_nus-3d', 12.5),
    'sassd': ('sassd', 'sassd_8xb6-80e_kitti-3d-3class', 4),
    'imvoxelnet': ('imvoxelnet', 'imvoxelnet_8xb4_kitti-3d-car', 4),
    'parta2': ('parta2', 'parta2_hv_secfpn_8xb2-cyclic-80e_kitti-3d-3class', 4),
}
SLOW = ('sassd', 'imvoxelnet')
ADAPTERS = dict(ssn='ShapeAwareHeadAdapter', parta2='PartA2RPNHeadAdapter')
FAMILIES = [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in CASES]


@pytest.fixture(scope='module', params=FAMILIES)
def case(request):
    if request.param in ('sassd', 'parta2'):
        pytest.importorskip('spconv')
    folder, name, area = CASES[request.param]
    sys.path.insert(0, str(ROOT / 'tools' / 'dev'))
    try:
        from support_configs import (
            Case,
            detector_config,
            limit_detections,
            narrow,
            shrink_range,
        )
        from support_samples import make_batch
        from support_steps import make_model
    finally:
        sys.path.pop(0)
    cfg = Case('mmdet3d', folder, name).read()
    config = detector_config(cfg)
    limit_detections(config)
    if request.param in ('imvoxelnet', 'ssn'):
        config = narrow(config, 4)
    config = shrink_range(config, area)
    for part in ('backbone', 'pts_backbone'):
        if 'layer_nums' in config.get(part, {}):
            config[part].layer_nums = [1] * len(config[part].layer_nums)
    model = make_model(cfg, config)
    for name, module in model.named_modules():
        if 'head' in name and isinstance(module, torch.nn.Conv2d):
            torch.nn.init.normal_(module.weight, std=0.5 / module.weight[0].numel() ** 0.5)
    data = model.data_preprocessor(make_batch(cfg, config, seed=0), False)
    adapter = build_adapter(model)
    assert type(adapter).__name__ == ADAPTERS.get(request.param, 'Anchor3DHeadAdapter')
    with torch.no_grad():
        return request.param, model, data, adapter, adapter.raw_outputs(data)


def test_outputs_are_positions(case):
    _, _, _, adapter, raw = case
    (output,) = adapter.outputs(raw)
    positions = output.scores.shape[:2]
    assert output.regs.keys() == {'bbox', 'direction'}
    assert all(reg.shape[:2] == positions for reg in output.regs.values())


def test_pseudo_labels_are_positions(case):
    _, _, data, adapter, raw = case
    (output,) = adapter.outputs(raw)
    (label,) = adapter.pseudo_labels(raw, data, score_thr=0.0, top_k=6)
    found = label.gt_instances_3d
    assert 0 < len(found) <= 6
    assert (found.scores_3d.diff() <= 0).all()
    for score, kind in zip(found.scores_3d, found.labels_3d, strict=True):
        assert ((output.probabilities()[0, :, kind] - score).abs() < 1e-4).any()


def test_loss(case):
    _, _, data, adapter, raw = case
    before = copy.deepcopy(raw)
    for threshold in (0.0, 2.0):  # with objects, and without
        labels = adapter.pseudo_labels(raw, data, score_thr=threshold, top_k=3)
        losses = adapter.loss(raw, data, labels)
        assert len(losses) == 3 and all(loss.isfinite() for loss in losses.values())
    assert all(torch.equal(x[0], y[0]) for x, y in zip(raw, before, strict=True))


def test_parts(case):
    _, _, _, adapter, raw = case
    check_parts(adapter, raw)
    assert list(adapter.head_groups(raw)) == ['cls', 'bbox', 'direction']


def test_decode_is_prediction(case):
    name, model, data, adapter, raw = case
    if name != 'parta2':
        check_decode(model, adapter, raw, data, head='bbox')
        return
    # Its second stage needs a GPU; proposals are what is decoded.
    (found,) = adapter.decode(raw, data)
    with torch.no_grad():
        (want,) = model.rpn_head.predict(model.extract_feat(data['inputs']), data['data_samples'])
    assert len(found.pred_instances_3d) > 0
    assert torch.equal(found.pred_instances_3d.scores_3d, want.scores_3d)


def test_gradients_reach_the_backbone(case):
    _, model, data, adapter, _ = case
    check_backbone_gradients(model, adapter, data)

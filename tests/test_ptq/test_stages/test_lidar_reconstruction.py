"""LiDAR-PTQ on tiny detectors: dense, transposed and sparse convolutions, the loss of the head."""

import pytest
import torch
from helpers import ROOT
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import TASK_UTILS

pytest.importorskip('mmdet3d')

from lidar_models import (  # noqa: E402
    random_scan,
    scan_batch,
    tiny_anchor_model,
    tiny_center_point,
)

from mmptq.adapters import build_adapter  # noqa: E402
from mmptq.compat.empty_scans import accept_empty_scans  # noqa: E402
from mmptq.ptq import Calibrator, Distillation, PTQContext  # noqa: E402
from mmptq.ptq.run import prepare_model  # noqa: E402
from mmptq.ptq.units.find import find_units  # noqa: E402
from mmptq.quantization import (  # noqa: E402
    freeze,
    quantized_layers,
    quantizers_off,
)
from mmptq.report import read_record  # noqa: E402
from mmptq.utils.trees import flatten  # noqa: E402

RECIPE = Config.fromfile(ROOT / 'configs/_base_/recipes/lidar_ptq.py').stages
MODELS = {
    'pillar': (tiny_center_point, 5),
    'voxel': (tiny_center_point, 5),
    'pointpillars': (tiny_anchor_model, 4),
    'second': (tiny_anchor_model, 4),
}


def raw_batch(scan):
    from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes

    sample = Det3DDataSample(metainfo=dict(box_type_3d=LiDARInstance3DBoxes, lidar_path='a.bin'))
    return dict(inputs=dict(points=[scan]), data_samples=[sample])


def make_context(kind, tmp_path, *scans):
    """A quantized tiny detector that is not calibrated yet, on made-up scans."""
    if kind in ('voxel', 'second'):
        pytest.importorskip('spconv')
    MMLogger.get_instance('lidar')
    build, columns = MODELS[kind]
    scans = scans or [random_scan(150, columns, seed) for seed in range(3)]
    ctx = PTQContext(build(kind), [raw_batch(scan) for scan in scans], tmp_path, seed=0)
    placement = 'sparse' if kind in ('voxel', 'second') else 'lidar'
    quantizer = Config.fromfile(ROOT / f'configs/_base_/schemes/w4a8_{placement}.py').quantizer
    prepare_model(ctx, quantizer)
    return ctx


def run(ctx, **options):
    """The recipe with other options of its Reconstructor."""
    calibrator, reconstructor = RECIPE
    TASK_UTILS.build(calibrator).run(ctx)
    before = head_error(ctx)
    options = dict(num_iters=30, batch_size=1, **options)
    TASK_UTILS.build(dict(reconstructor, **options)).run(ctx)
    return before, head_error(ctx)


@torch.no_grad()
def head_error(ctx):
    """Mean squared difference of the raw outputs of the head from float, over all scans."""
    adapter, errors = build_adapter(ctx.model), []
    for data in ctx.batches('compare'):
        quantized = flatten(adapter.raw_outputs(data))[0]
        with quantizers_off(ctx.model):
            original = flatten(adapter.raw_outputs(data))[0]
        errors += [(a - b).square().mean() for a, b in zip(quantized, original, strict=True)]
    return float(torch.stack(errors).mean())


@pytest.mark.parametrize('kind', list(MODELS))
def test_recipe_brings_the_head_closer_to_float(kind, tmp_path):
    ctx = make_context(kind, tmp_path)
    before, after = run(ctx, task_loss=None)
    assert after < 0.9 * before
    layers = quantized_layers(ctx.model).values()
    assert any(layer.weight_quantizer.rounding is not None for layer in layers)
    freeze(ctx.model)
    for layer in layers:
        quantizer = layer.weight_quantizer
        scale = quantizer.scheme.broadcast(quantizer.scale, layer.weight.dim())
        steps = layer.weight / scale
        assert (steps - steps.round()).abs().max() < 1e-3


@pytest.mark.parametrize('kind', ['voxel', 'second'])
def test_errors_of_sparse_outputs_are_weighed(kind, tmp_path):
    ctx = make_context(kind, tmp_path)
    before, after = run(ctx, task_loss=None, importance=dict(type='FisherImportance'))
    assert after < before


@pytest.mark.parametrize('kind', ['pillar', 'pointpillars'])
def test_task_loss_falls(kind, tmp_path):
    loss = dict(type='GlobalPositiveLoss', score_thr=0.1, top_k=5, clip_at_float_loss=False)
    ctx = make_context(kind, tmp_path)
    run(ctx, task_loss=loss)
    rows = read_record(tmp_path, 'reconstruction')
    assert len(rows) == 5
    # The loss of the head is in the loss of each unit, the first one included.
    assert rows[0]['before'] > 1
    assert rows[0]['after'] < rows[0]['before']


def test_scans_without_a_float_detection_fall_back_to_the_local_loss(tmp_path, monkeypatch):
    messages = []
    monkeypatch.setattr(MMLogger, 'warning', lambda self, text: messages.append(text))
    ctx = make_context('pillar', tmp_path)
    before, after = run(ctx, task_loss=dict(type='GlobalPositiveLoss', score_thr=0.9999))
    assert after < before
    (message,) = [text for text in messages if 'no target' in text]
    assert 'GlobalPositiveLoss no target in 3 of 3 calibration samples' in message
    assert 'this loss ignores them' in message


def test_one_voxel_and_more_than_max_voxels(tmp_path):
    ctx = make_context('voxel', tmp_path, random_scan(1), random_scan(5000))
    before, after = run(ctx, task_loss=None)
    assert after < before


@torch.no_grad()
@pytest.mark.parametrize('kind', list(MODELS))
def test_quantized_detectors_take_batches_of_empty_scans(kind, tmp_path):
    ctx = make_context(kind, tmp_path)
    TASK_UTILS.build(RECIPE[0]).run(ctx)
    freeze(ctx.model)
    accept_empty_scans(ctx.model)
    columns = MODELS[kind][1]
    full, empty = random_scan(100, columns), torch.zeros(0, columns)
    expected = build_adapter(ctx.model).raw_outputs(scan_batch(ctx.model, empty, full))
    for scans, rows in (([empty], [0]), ([full, empty], [1, 0]), ([empty, empty], [0, 0])):
        raw = build_adapter(ctx.model).raw_outputs(scan_batch(ctx.model, *scans))
        for x, y in zip(flatten(raw)[0], flatten(expected)[0], strict=True):
            assert torch.allclose(x, y[rows], atol=1e-4)


def test_units_of_the_two_sparse_encoders(tmp_path):
    ctx = make_context('voxel', tmp_path)
    units = find_units(ctx.model, lambda: ctx.predict(ctx.first_batch()))
    kinds = [type(unit.module).__name__ for unit in units if 'encoder' in unit.name]
    sequence = ['SparseSequential', 'SparseBasicBlock', 'SparseSequential', 'SparseBasicBlock']
    assert kinds == [*sequence, 'SparseSequential']
    ctx = make_context('second', tmp_path)
    units = find_units(ctx.model, lambda: ctx.predict(ctx.first_batch()))
    encoder = [unit for unit in units if 'encoder' in unit.name]
    assert [len(unit.layers) for unit in encoder] == [1] * 5
    assert {type(unit.module).__name__ for unit in encoder} == {'SparseSequential'}


@pytest.mark.parametrize('kind', MODELS)
def test_family_is_distilled(kind, tmp_path):
    torch.manual_seed(0)
    ctx = make_context(kind, tmp_path)
    with torch.no_grad():
        for layer in quantized_layers(ctx.model).values():
            layer.weight.mul_(2 / (layer.weight.std() * fan_in(layer) ** 0.5))
    Calibrator().run(ctx)
    loss = dict(type='DetectionOutputLoss', score_thr=0.0001)
    Distillation(loss, num_iters=12, batch_size=2).run(ctx)
    result = read_record(tmp_path, 'distillation')
    assert 0 < result['after'] < 0.9 * result['before'] and result['kept']


def fan_in(layer) -> int:
    """Inputs of each output value."""
    return layer.weight.numel() // layer.weight.shape[layer.weight_axis]

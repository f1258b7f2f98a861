"""Layer inputs with one step for channels of very different ranges: named, with a remedy."""

import pytest
import torch
from helpers import QUANTIZER, ROOT, ptq_settings
from mmengine.logging import MMLogger
from torch import nn

from mmptq.ptq import PTQContext, build_stages
from mmptq.ptq.checks.diagnosis import ChannelSpread, column_norms
from mmptq.ptq.run import convert_model, prepare_model
from mmptq.ptq.stages.calibrator import Calibrator
from mmptq.quantization.layers import quant_type_of
from mmptq.report import find_record


class Net(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)


def diagnosis(layer, x, tmp_path, act=None, net=Net):
    """The rows and warnings for a net of one layer, calibrated by min and max."""
    MMLogger.get_instance('test_diagnosis')
    ctx = PTQContext(net(layer).eval(), [x], tmp_path, seed=0)
    quantizer = dict(QUANTIZER, act=act or QUANTIZER['act'])
    prepare_model(ctx, quantizer)
    warnings = []
    ctx.logger.warning = warnings.append
    try:
        Calibrator().run(ctx)
    finally:
        del ctx.logger.warning
    return find_record(tmp_path, 'diagnosis') or [], warnings


def channels(*deviations, shape=(4000,)):
    """Uniform noise of these standard deviations, (N, C, ...)."""
    x = (torch.rand(len(deviations), *shape) - 0.5) * 12**0.5
    x = x * torch.tensor(deviations).view(-1, *[1] * len(shape))
    return x.movedim(0, 1)


def linear(*weights):
    layer = nn.Linear(len(weights), 4)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weights).expand(4, -1))
    return layer


def test_metres_and_offsets_in_one_tensor(tmp_path):
    # A range of 2 * sqrt(3) * 50 = 173 m in 255 steps: 0.679 m.
    x = channels(50.0, 50.0, 0.1, 0.1)
    rows, warnings = diagnosis(linear(0.01, 0.01, 5.0, 5.0), x, tmp_path)
    (row,) = rows
    assert (row['layer'], row['kind']) == ('layer', 'other')
    assert (row['coarse_channels'], row['channels']) == (2, 4)
    assert row['step'] == pytest.approx(0.679, rel=0.01)
    assert row['median_deviation'] == pytest.approx(0.1, rel=0.05)
    assert row['output_share'] == pytest.approx(0.5, abs=0.02)
    (line,) = warnings
    assert "'layer' (step 0.679, 2 of 4 channels)" in line
    assert line.endswith("use --bits 'layer=w8a16', or --float 'layer'")


def test_channels_that_the_weights_ignore_cost_nothing(tmp_path):
    x = channels(50.0, 50.0, 0.1, 0.1)
    assert diagnosis(linear(1.0, 1.0, 1.0, 1.0), x, tmp_path) == ([], [])


@pytest.mark.parametrize(
    ('deviations', 'act'),
    [
        ((1.0, 2.0, 3.0, 1.0), None),
        ((50.0, 50.0, 0.1, 0.1), dict(bits=16)),
        ((50.0, 50.0, 0.1, 0.1), dict(bits=8, per_channel=True)),
        ((1.0, 0.8, 0.5, 0.1), dict(bits=4)),  # at 4 bits, coarse steps are what was asked for
        ((50.0, 50.0, 0.0, 0.0), None),  # channels that hold nothing
    ],
)
def test_quiet(tmp_path, deviations, act):
    layer = linear(0.01, 0.01, 5.0, 5.0)
    assert diagnosis(layer, channels(*deviations), tmp_path, act) == ([], [])


class Det3DDataPreprocessor(nn.Module):
    """Makes a net one of points."""

    def forward(self, data, training):
        return dict(inputs=data)


class PointNet(Net):
    def __init__(self, layer):
        super().__init__(layer)
        self.data_preprocessor = Det3DDataPreprocessor()

    def forward(self, inputs, mode='predict'):
        return self.layer(inputs)


def test_one_channel_of_raw_points_is_enough(tmp_path):
    # Reflectance beside metres: its share of the output is 1e-5.
    weights, x = (1.0, 1.0, 1.0, 1.0), channels(50.0, 50.0, 2.0, 0.1)
    assert diagnosis(linear(*weights), x, tmp_path / 'other') == ([], [])
    rows, warnings = diagnosis(linear(*weights), x, tmp_path / 'points', net=PointNet)
    assert [(row['kind'], row['coarse_channels']) for row in rows] == [('points', 1)]
    assert warnings[0].endswith("use --scheme int8_lidar, or --float 'layer'")
    near = channels(5.0, 5.0, 2.0, 0.1)
    assert diagnosis(linear(*weights), near, tmp_path / 'near', net=PointNet) == ([], [])


def test_depthwise_channels_never_mix(tmp_path):
    x = channels(100.0, 0.1, 0.1, 0.1, shape=(1, 30, 30))[0][None]
    rows, warnings = diagnosis(nn.Conv2d(4, 4, 3, groups=4), x, tmp_path)
    assert (rows[0]['kind'], rows[0]['coarse_channels']) == ('depthwise', 3)
    assert '--recipe mult_mse' in warnings[0]


def norm(weight, axes):
    return weight.square().sum(axes).sqrt()


@pytest.mark.parametrize(
    ('layer', 'expected'),
    [
        (nn.Conv2d(2, 3, 1), lambda w: norm(w, (0, 2, 3))),
        (nn.Linear(2, 3), lambda w: norm(w, 0)),
        (nn.Conv2d(4, 4, 3, groups=4), lambda w: norm(w, (1, 2, 3))),
        (nn.Conv2d(4, 6, 1, groups=2), lambda w: norm(torch.cat([w[:3], w[3:]], 1), (0, 2, 3))),
        (nn.ConvTranspose2d(2, 3, 2), lambda w: norm(w, (1, 2, 3))),
        (nn.Conv1d(2, 3, 5), lambda w: norm(w, (0, 2))),
    ],
)
def test_norms_of_what_reads_a_channel(layer, expected):
    torch.testing.assert_close(column_norms(layer), expected(layer.weight.detach()))


def test_deviations_of_parts_of_the_positions():
    layer = nn.Linear(2, 1)
    layer.__class__ = quant_type_of(nn.Linear)
    spread = ChannelSpread()
    values = torch.arange(40_000.0) % 10
    for _ in range(3):
        spread.update('a', layer, torch.stack([values, 2 * values + 100], 1))
    expected = torch.tensor([8.25**0.5, 33**0.5], dtype=torch.float64)
    torch.testing.assert_close(spread.deviations('a'), expected, rtol=0.02, atol=0)
    assert spread.deviations('b') is None


def demo(name, root, loaders, tmp_path):
    """The diagnosis of a demo model with int8 and without its own policy."""
    from mmptq.engine.run_context import context_of

    options = [f'train_dataloader.dataset.{key}={root}' for key in loaders]
    options += [f'val_dataloader.dataset.{key}={root}' for key in loaders]
    settings = ['ptq=None', 'train_dataloader.num_workers=0', *options]
    config = ROOT / f'configs/demo/{name}.py'
    cfg = ptq_settings(config, 'int8', 'minmax', '--cfg-options', *settings)
    cfg.load_from = str(ROOT / f'configs/demo/checkpoints/{name}.pth')
    if 'coco' in name:
        cfg.val_evaluator.ann_file = f'{root}/annotations/instances_val.json'
    else:
        cfg.val_evaluator.update(data_root=str(root), ann_file=f'{root}/nuscenes_infos_val.pkl')
    ctx = context_of(cfg, 2)
    ctx.work_dir = ctx.run_record.path = tmp_path / 'run.json'
    convert_model(ctx)
    build_stages(cfg.stages)[0].run(ctx)
    return find_record(tmp_path, 'diagnosis') or []


@pytest.mark.slow
def test_pillars_with_the_scheme_that_everybody_takes_first(tiny_nuscenes, tmp_path):
    pytest.importorskip('mmdet3d')
    (row,) = demo('centerpoint_pillar_demo-nus', tiny_nuscenes, ['data_root'], tmp_path)
    assert row['layer'] == 'pts_voxel_encoder.pfn_layers.0.linear'
    assert row['kind'] == 'points'
    assert 1 < row['step'] < 1.5  # metres
    assert row['coarse_channels'] >= 6


def test_voxels_with_the_scheme_that_everybody_takes_first(tiny_nuscenes, tmp_path):
    pytest.importorskip('spconv')
    (row,) = demo('centerpoint_voxel_demo-nus', tiny_nuscenes, ['data_root'], tmp_path)
    assert (row['layer'], row['kind']) == ('pts_middle_encoder.conv_input.0', 'points')
    assert row['coarse_channels'] >= 1 and row['channels'] == 5


@pytest.mark.parametrize('name', ['retinanet_r18_fpn_demo-coco', 'atss_r18_fpn_demo-coco'])
def test_ordinary_detectors_are_quiet(name, tiny_data, tmp_path):
    assert demo(name, tiny_data, ['data_root'], tmp_path) == []

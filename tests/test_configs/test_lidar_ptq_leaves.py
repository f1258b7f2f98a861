"""Leaves of LiDAR-PTQ: the stock networks, every layer where the policy wants it, four steps."""

import pytest
import torch
from helpers import ROOT, as_test_dataset, pipeline_of, ptq_settings
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

pytest.importorskip('mmdet3d')

from lidar_models import scan_batch  # noqa: E402

from mmptq.adapters import build_adapter  # noqa: E402
from mmptq.ptq.policy import apply_policy  # noqa: E402
from mmptq.quantization import make_plan  # noqa: E402
from mmptq.utils.cli import base_config  # noqa: E402

LEAVES = sorted((ROOT / 'configs/lidar_ptq').glob('*.py'))
PARTS = ('weight', 'act')
RECIPES = ROOT / 'configs/_base_/recipes'


def test_leaves_are_there():
    assert len(LEAVES) >= 4


@pytest.mark.parametrize('leaf', LEAVES, ids=lambda path: path.stem)
def test_leaf_and_its_policy(leaf, monkeypatch):
    monkeypatch.delenv('MMPTQ_DATA', raising=False)
    cfg = Config.fromfile(leaf)
    assert len(leaf.read_text().splitlines()) <= 15
    stock = 'ptq' not in cfg
    apply_policy(cfg)
    (first,) = cfg.quantizer.rules
    assert first.role == 'points'
    sparse = cfg.model.get('pts_middle_encoder', cfg.model.get('middle_encoder'))
    if sparse.type == 'SparseEncoder':
        assert first.act.bits == 16 and first.get('weight', dict(bits=8))['bits'] == 8
    else:
        assert first.act is first.weight is None
    assert stock == leaf.stem.endswith('_nus')
    assert [stage.type for stage in cfg.stages] == ['Calibrator', 'Reconstructor']
    assert [hook.type for hook in cfg.custom_hooks] == ['QuantizationHook']
    calibration = as_test_dataset(
        cfg.train_dataloader.dataset, pipeline_of(cfg.val_dataloader.dataset)
    )
    assert 'train' in calibration['ann_file']
    assert calibration['test_mode']


@pytest.mark.parametrize('scheme', ['int8', 'w4a8', 'w4a4'])
@pytest.mark.parametrize(
    ('kind', 'name'), [('lidar', 'centerpoint_pillar'), ('sparse', 'centerpoint_voxel')]
)
def test_policy_is_the_scheme_for_that_kind_of_network(scheme, kind, name):
    """With the rules of both, the last ones that match a role are the same."""
    float_config = ROOT / f'configs/demo/{name}_demo-nus.py'
    cfg = ptq_settings(float_config, scheme, 'minmax')
    expected = base_config('scheme', f'{scheme}_{kind}').quantizer
    assert {key: cfg.quantizer[key] for key in ('weight', 'act')} == {
        key: expected[key] for key in ('weight', 'act')
    }
    assert effect(cfg.quantizer) == effect(expected)


def effect(quantizer) -> dict:
    """Scheme of weights and inputs for each role, as ``place`` merges them."""
    merged = {}
    for rule in quantizer.rules:
        for part in ('weight', 'act'):
            if part in rule:
                change = rule[part]
                merged[rule.role, part] = change and {**quantizer[part], **change}
    default = {(role, part): quantizer[part] for role in ('first', 'last') for part in PARTS}
    # A role without a rule has the scheme of all others.
    default |= {('points', part): quantizer[part] for part in PARTS}
    return default | merged


def test_the_four_steps_differ_by_one_thing_each():
    stages = {
        name: Config.fromfile(RECIPES / f'{name}.py').stages
        for name in ('minmax', 'lidar_ptq_grid', 'lidar_ptq_tgpl', 'lidar_ptq_local', 'lidar_ptq')
    }
    assert stages['minmax'][0].act_observer.type == 'MinMaxObserver'
    (grid,) = stages['lidar_ptq_grid']
    assert grid.act_observer == grid.weight_observer
    assert (grid.act_observer.low, grid.act_observer.high) == (0.5, 1.2)
    assert stages['lidar_ptq_tgpl'][0] == stages['lidar_ptq'][0] == grid
    task, everything = stages['lidar_ptq_tgpl'][1], stages['lidar_ptq'][1]
    assert task.task_loss.type == 'GlobalPositiveLoss'
    assert task.rounding is None
    assert {**task, 'rounding': everything.rounding} == everything
    assert everything.rounding.type == 'AdaRound'
    assert stages['lidar_ptq_local'] == [grid, {**everything, 'task_loss': None}]


STOCK = 'centerpoint/centerpoint_voxel0075_second_secfpn_head-dcn_8xb4-cyclic-20e_nus-3d.py'


@pytest.mark.parametrize(
    ('name', 'scheme'),
    [
        ('mmptq::waymo/centerpoint_voxel01_waymoD5-3d.py', 'int8'),
        pytest.param(f'mmdet3d::{STOCK}', 'int8_sparse', marks=pytest.mark.slow),
    ],
)
def test_full_size_network_is_quantized_and_has_a_loss(name, scheme):
    pytest.importorskip('spconv')
    cfg = ptq_settings(name, scheme, 'lidar_ptq')
    cfg.model.pts_backbone.layer_nums = [1, 1]  # in place of [5, 5], for time
    init_default_scope('mmdet3d')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()
    points = torch.rand(500, 5) * torch.tensor([8.0, 8.0, 2.0, 1.0, 1.0])
    data = scan_batch(model, points)
    adapter = build_adapter(model)
    raws = []

    def run():
        raws.append(adapter.raw_outputs(data))

    plan = make_plan(model, cfg.quantizer, run)
    assert not plan.unsupported
    assert all(layer.quantized for layer in plan.layers)
    sparse = [layer for layer in plan.layers if layer.name.startswith('pts_middle_encoder')]
    assert len(sparse) == 21
    assert [layer.act.bits for layer in sparse] == [16] + [8] * 20
    assert all(layer.weight.channel_axis == 0 for layer in sparse)
    (raw,) = raws
    labels = adapter.pseudo_labels(raw, data, 0.05, 5)
    losses = adapter.loss(raw, data, labels)
    assert len(losses) == 2 * len(cfg.model.pts_bbox_head.tasks)
    assert all(torch.isfinite(loss) for loss in losses.values())

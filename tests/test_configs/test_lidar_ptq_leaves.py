"""Leaves of LiDAR-PTQ: the stock networks, every layer where the policy wants it, four steps."""

import ast

import pytest
import torch
from helpers import ROOT
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

pytest.importorskip('mmdet3d')

from lidar_models import scan_batch  # noqa: E402

from mmptq.adapters import build_adapter  # noqa: E402
from mmptq.ptq.calibration_data import as_test_dataset, pipeline_of  # noqa: E402
from mmptq.quantization import make_plan  # noqa: E402

LEAVES = sorted((ROOT / 'configs/lidar_ptq').glob('*.py'))
RECIPES = ROOT / 'configs/_base_/recipes'


def float_config(leaf):
    """The config of the float model that a leaf inherits."""
    assignment = ast.parse(leaf.read_text()).body[0]
    assert assignment.targets[0].id == '_base_'
    (base, *_) = ast.literal_eval(assignment.value)
    if base.startswith('mmdet3d::'):
        return Config.fromstring(f"_base_ = '{base}'", '.py')
    return Config.fromfile(leaf.parent / base)


def without_scopes(node):
    if isinstance(node, dict):
        return {key: without_scopes(value) for key, value in node.items() if key != '_scope_'}
    if isinstance(node, list | tuple):
        return [without_scopes(value) for value in node]
    return node


@pytest.mark.parametrize('leaf', LEAVES, ids=lambda path: path.stem)
def test_leaf_is_the_float_config_and_a_recipe(leaf, monkeypatch):
    monkeypatch.delenv('MMPTQ_DATA', raising=False)
    cfg, base = Config.fromfile(leaf), float_config(leaf)
    assert without_scopes(cfg.model) == without_scopes(base.model)
    assert len(leaf.read_text().splitlines()) <= 15
    scheme = leaf.stem.split('lidar_ptq_')[1].split('_')[0]
    sparse = cfg.model.get('pts_middle_encoder', cfg.model.get('middle_encoder'))
    placement = 'sparse' if sparse.type == 'SparseEncoder' else 'lidar'
    expected = Config.fromfile(ROOT / f'configs/_base_/schemes/{scheme}_{placement}.py')
    assert cfg.quantizer == expected.quantizer
    assert [stage.type for stage in cfg.stages] == ['Calibrator', 'Reconstructor']
    assert [hook.type for hook in cfg.custom_hooks] == ['QuantizationHook']
    calibration = as_test_dataset(
        cfg.train_dataloader.dataset, pipeline_of(cfg.val_dataloader.dataset)
    )
    assert 'train' in calibration['ann_file']
    assert calibration['test_mode']


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


@pytest.mark.parametrize(
    'name', ['voxel01_lidar_ptq_int8_waymo', 'voxel0075_dcn_lidar_ptq_int8_nus']
)
def test_full_size_network_is_quantized_and_has_a_loss(name):
    pytest.importorskip('spconv')
    cfg = Config.fromfile(ROOT / f'configs/lidar_ptq/centerpoint_{name}.py')
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

"""Configs of anchor and keypoint models: real sizes, demo models in the stock loop, weights."""

from pathlib import Path

import pytest
import torch
from helpers import ROOT
from mmdet.registry import DATASETS, METRICS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

import mmptq  # noqa: F401

REAL = {
    'laneatt_r18_culane': (640, 360),
    'laneatt_r34_culane': (640, 360),
    'laneatt_r18_tusimple': (640, 360),
    'laneatt_r34_tusimple': (640, 360),
    'clrnet_r18_culane': (800, 320),
    'clrnet_r18_tusimple': (800, 320),
    'ganet_r18_culane': (800, 320),
    'ganet_r18_tusimple': (800, 320),
    'condlanenet_r18_culane': (800, 320),
    'condlanenet_r18_tusimple': (800, 320),
}
DEMO = ('laneatt_r18', 'clrnet_r18', 'ganet_r18', 'condlanenet_r18')


def resize_steps(cfg: Config) -> list:
    """The size that each pipeline of a config makes."""
    train = cfg.train_dataloader.dataset
    datasets = [*train.get('datasets', [train])]
    datasets += [cfg.val_dataloader.dataset, cfg.test_dataloader.dataset]
    return [step.scale for data in datasets for step in data.pipeline if step.type == 'LaneResize']


@pytest.mark.parametrize('name', REAL)
def test_all_pipelines_make_the_size_of_the_head(name):
    cfg = Config.fromfile(ROOT / f'configs/lane/{name}.py')
    assert {tuple(scale) for scale in resize_steps(cfg)} == {REAL[name]}
    assert tuple(cfg.model.lane_head.get('image_size', REAL[name])) == REAL[name]
    depth = 34 if 'r34' in name else 18
    assert cfg.model.backbone.depth == depth
    assert cfg.model.backbone.init_cfg.checkpoint == f'torchvision://resnet{depth}'
    end = cfg.param_scheduler[-1]['end']
    assert cfg.train_cfg.max_epochs == end == cfg.param_scheduler[-1].get('T_max', end)


@pytest.mark.parametrize(
    ('name', 'shapes'),
    [
        ('laneatt_r18_culane', dict(logits=(1, 1000, 2), reg=(1, 1000, 73))),
        ('clrnet_r18_culane', dict(lines=(1, 192, 4), offsets=(1, 192, 72))),
        ('ganet_r18_culane', dict(heatmap=(1, 1, 40, 100), offset=(1, 2, 40, 100))),
        (
            'condlanenet_r18_culane',
            dict(
                heatmap=(1, 1, 20, 50),
                location_kernel=(1, 67, 20, 50),
                offset_kernel=(1, 67, 20, 50),
                features=(1, 64, 40, 100),
            ),
        ),
    ],
)
def test_real_models_run_at_their_size(name, shapes):
    init_default_scope('mmdet')
    cfg = Config.fromfile(ROOT / f'configs/lane/{name}.py')
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model).eval()
    with torch.no_grad():
        outputs = model(torch.rand(1, 3, *REAL[name][::-1]), mode='tensor')
    assert {key: tuple(outputs[key].shape) for key in shapes} == shapes


@pytest.mark.parametrize('name', DEMO)
def test_demo_models_train_and_evaluate_in_the_stock_loop(name, tiny_lanes, tmp_path):
    cfg = Config.fromfile(ROOT / f'configs/demo/{name}_demo-lane.py')
    cfg.work_dir = str(tmp_path)
    cfg.model.backbone.base_channels = 8
    if 'neck' in cfg.model:
        cfg.model.neck.in_channels = [16, 32, 64]
    else:
        cfg.model.lane_head.in_channels = 32
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.param_scheduler = []
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.data_root = str(tiny_lanes)
    cfg.experiment_name = f'{name}_{tmp_path.name}'
    runner = Runner.from_cfg(cfg)
    before = [parameter.clone() for parameter in runner.model.parameters()]
    runner.train()
    after = list(runner.model.parameters())
    assert all(torch.isfinite(parameter).all() for parameter in after)
    assert sum(not torch.equal(a, b) for a, b in zip(before, after, strict=True)) > len(after) / 2
    metrics = runner.val_loop.run()
    assert metrics['culane/TP'] + metrics['culane/FN'] == count_lanes(tiny_lanes)


@pytest.mark.parametrize('name', DEMO)
def test_published_checkpoint_fits_and_finds_lanes(name, tiny_lanes):
    path = ROOT / f'configs/demo/checkpoints/{name}_demo-lane.pth'
    assert path.stat().st_size < 5 * 2**20
    checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    assert set(checkpoint) == {'state_dict', 'meta'}
    init_default_scope('mmdet')
    cfg = Config.fromfile(ROOT / f'configs/demo/{name}_demo-lane.py')
    model = MODELS.build(cfg.model).eval()
    model.load_state_dict(checkpoint['state_dict'], strict=True)
    cfg.test_dataloader.dataset.data_root = str(tiny_lanes)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    evaluator = Evaluator(METRICS.build(cfg.test_evaluator))
    for index in range(len(dataset)):
        evaluator.process(model.test_step(pseudo_collate([dataset[index]])))
    assert evaluator.evaluate(len(dataset))['culane/F1'] > 0.6


def count_lanes(folder: Path) -> int:
    """Lanes of the validation images."""
    files = (folder / 'val').glob('*.lines.txt')
    return sum(bool(line.strip()) for file in files for line in file.read_text().splitlines())

"""YOLOX-nano with its authors' weights on real COCO images."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

CONFIG = Path(__file__).resolve().parents[2] / 'configs/yolox/yolox_nano_coco-mini.py'


def test_training_tricks_of_the_base_are_gone(monkeypatch):
    monkeypatch.delenv('MMPTQ_DATA', raising=False)
    cfg = Config.fromfile(CONFIG)
    assert cfg.custom_hooks == []
    assert cfg.model.data_preprocessor.batch_augments is None
    assert cfg.train_dataloader.dataset.type == 'CocoDataset'
    assert cfg.train_dataloader.dataset.data_root == 'data/coco/'
    assert cfg.load_from == 'data/weights/yolox_nano_coco_bn.pth'
    steps = [step['type'] for step in cfg.test_dataloader.dataset.pipeline]
    assert steps == ['LoadImageFromFile', 'Resize', 'Pad', 'LoadAnnotations', 'PackDetInputs']
    assert cfg.test_dataloader.dataset.pipeline[1].scale == (416, 416)


def test_train_split_loads_through_the_train_pipeline(monkeypatch, real_data):
    monkeypatch.setenv('MMPTQ_DATA', str(real_data))
    cfg = Config.fromfile(CONFIG)
    init_default_scope('mmdet')
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    assert len(loader.dataset) == 100
    batch = next(iter(loader))
    assert batch['inputs'][0].shape == (3, 416, 416)
    assert sum(len(s.gt_instances) for s in batch['data_samples']) > 0


@pytest.mark.slow
def test_float_box_ap_on_the_real_images(monkeypatch, real_data, tmp_path):
    from mmdet.registry import MODELS

    monkeypatch.setenv('MMPTQ_DATA', str(real_data))
    cfg = Config.fromfile(CONFIG)
    cfg.work_dir = str(tmp_path)
    init_default_scope('mmdet')
    weights = torch.load(cfg.load_from, weights_only=True)['state_dict']
    MODELS.build(cfg.model).load_state_dict(weights, strict=True)
    metrics = Runner.from_cfg(cfg).test()
    # The number its source states for these 106 images.
    assert metrics['coco/bbox_mAP'] == pytest.approx(0.308, abs=0.002)

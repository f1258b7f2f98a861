"""The float 2D detectors of the demo set and of BCCD, and their published checkpoints."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
MODELS = {
    'demo/retinanet_r18_fpn_demo-coco': 6,
    'bccd/retinanet_r18_fpn_bccd': 3,
}
OTHERS = (
    'demo/atss_r18_fpn_demo-coco',
    'demo/deformable-detr_r18_demo-coco',
    'demo/faster-rcnn_r18_fpn_demo-coco',
)
CHECKPOINTS = {**MODELS, **dict.fromkeys(OTHERS, 6)}


def build(config):
    from mmdet.registry import MODELS as registry

    init_default_scope('mmdet')
    return registry.build(config.model)


@pytest.mark.parametrize(('name', 'classes'), MODELS.items())
def test_config_builds_the_real_architecture(name, classes):
    config = Config.fromfile(CONFIGS / f'{name}.py')
    assert config.default_scope == 'mmdet'
    assert config.randomness.seed == 0
    assert len(config.train_dataloader.dataset.metainfo.classes) == classes
    model = build(config)
    assert model.bbox_head.retina_cls.out_channels == 9 * classes
    assert type(model.backbone).__name__ == 'ResNet'
    assert not model.backbone.norm_eval
    assert all(parameter.requires_grad for parameter in model.parameters())
    model.eval()
    levels = model(torch.zeros(1, 3, 64, 96), mode='tensor')
    assert [tuple(scores.shape[-2:]) for scores in levels[0]][:2] == [(8, 12), (4, 6)]


@pytest.mark.parametrize(('name', 'classes'), CHECKPOINTS.items())
def test_published_checkpoint_fits(name, classes):
    folder, file = name.split('/')
    path = CONFIGS / folder / 'checkpoints' / f'{file}.pth'
    assert path.stat().st_size < 6 * 2**20
    checkpoint = torch.load(path, weights_only=True)
    assert set(checkpoint) == {'state_dict', 'meta'}
    assert len(checkpoint['meta']['dataset_meta']['classes']) == classes
    config = Config.fromfile(CONFIGS / f'{name}.py')
    assert tuple(checkpoint['meta']['dataset_meta']['classes']) == config.metainfo.classes
    model = build(config)
    model.load_state_dict(checkpoint['state_dict'], strict=True)
    assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())


def test_demo_classes_are_those_of_the_generator():
    from mmptq.demo.scene_2d import CLASSES

    config = Config.fromfile(CONFIGS / 'demo/retinanet_r18_fpn_demo-coco.py')
    assert config.metainfo.classes == CLASSES


def test_bccd_validation_and_training_images_differ(real_data, monkeypatch):
    from mmdet.registry import DATASETS

    monkeypatch.setenv('MMPTQ_DATA', str(real_data))
    config = Config.fromfile(CONFIGS / 'bccd/retinanet_r18_fpn_bccd.py')
    init_default_scope('mmdet')
    train = DATASETS.build(config.train_dataloader.dataset)
    val = DATASETS.build(config.val_dataloader.dataset)
    assert (len(train), len(val)) == (205, 87)
    names = [{info['img_id'] for info in data.load_data_list()} for data in (train, val)]
    assert not names[0] & names[1]
    sample = val[0]
    assert sample['data_samples'].ori_shape == (480, 640)
    assert sample['data_samples'].img_shape == (312, 416)
    assert sample['data_samples'].instances[0]['bbox_label'] in (0, 1, 2)

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope

ROOT = Path(__file__).resolve().parents[2]
MODELS = ('pillar', 'voxel')


def load_config(name, folder):
    if name == 'voxel':
        pytest.importorskip('spconv')
    cfg = Config.fromfile(ROOT / f'configs/demo/centerpoint_{name}_demo-nus.py')
    for split in ('train', 'val'):
        cfg[f'{split}_dataloader'].dataset.data_root = str(folder)
    return cfg


def build_model(cfg):
    import mmdet3d.models  # noqa: F401
    from mmdet3d.registry import MODELS as REGISTRY

    init_default_scope('mmdet3d')
    torch.manual_seed(0)
    return REGISTRY.build(cfg.model)


def load_batch(cfg, split, size):
    import mmdet3d.datasets  # noqa: F401
    from mmdet3d.registry import DATASETS

    init_default_scope('mmdet3d')
    dataset = DATASETS.build(cfg[f'{split}_dataloader'].dataset)
    return pseudo_collate([dataset[index] for index in range(size)])


@pytest.mark.parametrize('name', MODELS)
def test_model_trains_and_predicts_on_generated_data(tiny_nuscenes, name):
    cfg = load_config(name, tiny_nuscenes)
    model = build_model(cfg)
    batch = model.data_preprocessor(load_batch(cfg, 'train', 2), training=True)
    losses = model(**batch, mode='loss')
    total = sum(value for key, value in losses.items() if 'loss' in key)
    total.backward()
    assert torch.isfinite(total)
    untrained = [key for key, value in model.named_parameters() if value.grad is None]
    assert untrained == []
    model.eval()
    with torch.no_grad():
        result = model.test_step(load_batch(cfg, 'val', 1))[0].pred_instances_3d
    assert result.bboxes_3d.tensor.shape[1] == 9
    assert len(result.scores_3d) == len(result.labels_3d)


@pytest.mark.parametrize('name', MODELS)
def test_architecture_is_the_real_one_but_narrow(tiny_nuscenes, name):
    cfg = load_config(name, tiny_nuscenes)
    base = {'pillar': 'pillar02', 'voxel': 'voxel01'}[name]
    configs = Path(find_spec('mmdet3d').origin).parent / '.mim/configs/_base_/models'
    real = Config.fromfile(configs / f'centerpoint_{base}_second_secfpn_nus.py')
    parts = ('pts_voxel_encoder', 'pts_middle_encoder', 'pts_backbone', 'pts_neck', 'pts_bbox_head')
    assert [cfg.model[part].type for part in parts] == [real.model[part].type for part in parts]
    assert cfg.model.pts_bbox_head.tasks == real.model.pts_bbox_head.tasks
    classes = [label for task in cfg.model.pts_bbox_head.tasks for label in task.class_names]
    assert classes == cfg.class_names == cfg.val_dataloader.dataset.metainfo.classes


@pytest.mark.parametrize('name', MODELS)
def test_published_checkpoint_loads_strictly_and_detects(tiny_nuscenes, name):
    path = ROOT / f'configs/demo/checkpoints/centerpoint_{name}_demo-nus.pth'
    assert path.stat().st_size < 5e6
    checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    cfg = load_config(name, tiny_nuscenes)
    model = build_model(cfg)
    model.load_state_dict(checkpoint['state_dict'], strict=True)
    assert all(
        value.dtype == torch.float16
        for value in checkpoint['state_dict'].values()
        if value.is_floating_point()
    )
    model.eval()
    with torch.no_grad():
        result = model.test_step(load_batch(cfg, 'val', 1))[0].pred_instances_3d
    assert result.scores_3d.max() > 0.3

"""The demo FCOS3D: the stock architecture, its checkpoint, and two samples quantized."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope

pytest.importorskip('mmdet3d')

import mmptq  # noqa: E402
from mmptq.quantization import quantized_layers  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
NAME = 'fcos3d_r18_fpn_demo-nus-mono'
CHECKPOINT = ROOT / f'configs/demo/checkpoints/{NAME}.pth'


@pytest.fixture(scope='module')
def config(tiny_nuscenes):
    cfg = Config.fromfile(ROOT / f'configs/demo/{NAME}.py')
    for split in ('train', 'val'):
        cfg[f'{split}_dataloader'].dataset.data_root = str(tiny_nuscenes)
    for part in (cfg.model.backbone, cfg.model.neck):
        part.init_cfg = None
    return cfg


def build(cfg):
    import mmdet3d.models  # noqa: F401
    from mmdet3d.registry import MODELS

    init_default_scope('mmdet3d')
    torch.manual_seed(0)
    return MODELS.build(cfg.model)


def trained(cfg):
    model = build(cfg)
    checkpoint = torch.load(CHECKPOINT, map_location='cpu', weights_only=True)
    model.load_state_dict(checkpoint['state_dict'], strict=True)
    return model.float().eval()


def load_batch(cfg, split, size):
    import mmdet3d.datasets  # noqa: F401
    from mmdet3d.registry import DATASETS

    init_default_scope('mmdet3d')
    dataset = DATASETS.build(cfg[f'{split}_dataloader'].dataset)
    assert len(dataset) == 4 * 6
    return pseudo_collate([dataset[index] for index in range(size)])


def test_model_trains_on_generated_data(config):
    model = build(config).train()
    batch = model.data_preprocessor(load_batch(config, 'train', 2), training=True)
    losses = model(**batch, mode='loss')
    total = sum(value for key, value in losses.items() if 'loss' in key)
    total.backward()
    assert torch.isfinite(total)
    frozen = [name for name, p in model.named_parameters() if p.grad is None]
    assert all(
        name.startswith(('backbone.conv1', 'backbone.bn1', 'backbone.la')) for name in frozen
    )


def test_architecture_is_the_real_one_but_narrow(config):
    from mmengine.hub import get_config

    real = get_config('mmdet3d::_base_/models/fcos3d.py').model
    for part in ('backbone', 'neck', 'bbox_head', 'data_preprocessor'):
        assert config.model[part].type == real[part].type
    assert config.model.bbox_head.group_reg_dims == real.bbox_head.group_reg_dims
    assert config.class_names == config.val_dataloader.dataset.metainfo.classes


def test_checkpoint_detects_and_stays_close_when_it_is_quantized(config):
    assert CHECKPOINT.stat().st_size < 5e6
    model = trained(config)
    batch = load_batch(config, 'val', 2)
    with torch.no_grad():
        before = model.test_step(batch)
        mmptq.quantize(model, [batch], 'int8', 'minmax')
        after = model.test_step(batch)
    assert len(quantized_layers(model)) > 30
    for one, two in zip(before, after, strict=True):
        assert one.pred_instances_3d.bboxes_3d.tensor.shape[1] == 9
        scores = [x.pred_instances_3d.scores_3d.max() for x in (one, two)]
        assert scores[0] > 0.05  # objects are tiny in images of 96x56 pixels
        assert scores[1] == pytest.approx(float(scores[0]), abs=0.05)

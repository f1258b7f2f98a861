"""Stock detectors are reconstructed, the parts of the objective that need their heads included."""

import pytest
import torch
from mmengine.logging import MMLogger
from reconstruction import W4A4
from stock_models import build_stock, image_batch, stock_config
from torch import nn

from mmptq.ptq import Calibrator, Distillation, PTQContext, Reconstructor
from mmptq.ptq.run import prepare_model
from mmptq.quantization import quantized_layers
from mmptq.report import read_record

LOSS = dict(type='DetectionOutputLoss', score_thr=0.01)
# Some of the units that are to be found.
UNITS = {
    'yolox': {'backbone.stem', 'backbone.stage1.1', 'neck.top_down_blocks.0', 'bbox_head'},
    'faster_rcnn': {'backbone.layer1.0', 'neck.fpn_convs.0', 'rpn_head', 'roi_head.bbox_head'},
}
PARTS = {
    'yolox': dict(importance=dict(type='FisherImportance', loss=LOSS)),
    'faster_rcnn': dict(task_loss=LOSS),
}


class Unchanged(nn.Module):
    """Gives batches back that are prepared already."""

    def forward(self, batch, training):
        return batch


def context(family, folder, num_images=1, size=32):
    MMLogger.get_instance('test_stock_reconstruction')
    model = build_stock(stock_config(family), spread=2.0)
    batch = image_batch(model, num_images, size)
    model.data_preprocessor = Unchanged()
    ctx = PTQContext(model, [batch], folder, seed=0)
    prepare_model(ctx, W4A4)
    Calibrator().run(ctx)
    return ctx


@pytest.mark.parametrize('family', UNITS)
def test_family(family, tmp_path):
    ctx = context(family, tmp_path)
    settings = dict(num_iters=2, batch_size=1, act_lr=1e-3, drop_prob=0.5)
    Reconstructor(**settings, **PARTS[family]).run(ctx)
    rows = read_record(tmp_path, 'reconstruction')
    assert {row['unit'] for row in rows} >= UNITS[family]
    assert all(row['before'] > 0 for row in rows)
    layers = quantized_layers(ctx.model)
    learned = [n for n, layer in layers.items() if layer.weight_quantizer.rounding is not None]
    assert len(learned) > len(layers) / 3
    assert all(torch.isfinite(x).all() for x in ctx.model.state_dict().values())


@pytest.mark.parametrize('family', ['retinanet', *UNITS])
def test_family_is_distilled(family, tmp_path):
    ctx = context(family, tmp_path)
    Distillation(LOSS, num_iters=10, batch_size=1).run(ctx)
    result = read_record(tmp_path, 'distillation')
    assert 0 < result['after'] < result['before'] and result['kept']
    assert all(torch.isfinite(x).all() for x in ctx.model.state_dict().values())


MORE = ['tood', 'vfnet', 'reppoints', 'yolof', 'yolov3', 'rtmdet_ins', 'condinst']
MORE += ['mask_rcnn', 'cascade_rcnn', 'cascade_mask_rcnn']


@pytest.mark.slow
@pytest.mark.parametrize('family', MORE)
def test_head_losses_of_more_families(family, tmp_path):
    """Parts of ``brecq``, ``inlierq`` and ``lidar_ptq``, then distillation by ``detptq``'s loss."""
    ctx = context(family, tmp_path, num_images=2, size=64)
    importance = dict(type='InlierImportance', loss=dict(type='TopKConfidenceLoss', k=20))
    positive = dict(type='GlobalPositiveLoss', score_thr=0.0)
    settings = dict(num_iters=1, batch_size=1, act_lr=1e-3, importance=importance)
    Reconstructor(**settings, task_loss=positive).run(ctx)
    rows = read_record(tmp_path, 'reconstruction')
    assert {'backbone', 'neck'} <= {row['unit'].split('.')[0] for row in rows}
    heads = ('bbox_head', 'rpn_head', 'roi_head')
    assert any(row['unit'].startswith(heads) for row in rows)
    Distillation(LOSS, num_iters=2, batch_size=1).run(ctx)
    assert read_record(tmp_path, 'distillation')['before'] > 0
    assert all(torch.isfinite(x).all() for x in ctx.model.state_dict().values())

"""Detectors that people reported, with random weights: what they were silently wrong at."""

import copy

import pytest
import torch
from helpers import QUANTIZER
from mmdet.models.roi_heads import CascadeRoIHead
from mmdet.testing import demo_mm_inputs
from mmengine.config import ConfigDict
from mmengine.hub import get_config
from mmengine.logging import MMLogger
from stock_models import build_stock, stock_config
from torch import nn

import mmptq
from mmptq.ptq import Calibrator, PTQContext, Reconstructor
from mmptq.ptq.run import prepare_model
from mmptq.quantization import quantizers_off
from mmptq.quantization.coverage import coverage_rows


def batches(count: int = 2, size: int = 64) -> list[dict]:
    torch.manual_seed(0)
    return [demo_mm_inputs(1, [[3, size, size + 32]]) for _ in range(count)]


def context(model, tmp_path, data=None) -> PTQContext:
    MMLogger.get_instance('test_checks')
    ctx = PTQContext(model, batches() if data is None else data, tmp_path, seed=0)
    prepare_model(ctx, QUANTIZER)
    return ctx


def narrow(path: str, **changes) -> ConfigDict:
    """Model config of mmdet on a ResNet-18 of 8 channels."""
    cfg = get_config(f'mmdet::{path}.py').model
    cfg.backbone.init_cfg = None
    cfg.backbone.update(depth=18, base_channels=8)
    cfg.neck.update(in_channels=[8, 16, 32, 64], out_channels=32)
    for head in changes:
        cfg[head].update(changes[head])
    return cfg


def notes(ctx) -> dict[str, str]:
    return {row['layer']: row['note'] for row in coverage_rows(ctx.plan)}


def test_tood(tmp_path):
    """Weights that are read and never called."""
    head = dict(in_channels=32, feat_channels=32, stacked_convs=2, num_classes=5)
    model = build_stock(narrow('tood/tood_r50_fpn_1x_coco', bbox_head=head))
    ctx = context(model, tmp_path, batches(size=160))
    never = [name for name, note in notes(ctx).items() if 'never executed in predict' in note]
    assert never == [f'bbox_head.{k}_decomp.reduction_conv.conv' for k in ('cls', 'reg')]
    Calibrator().run(ctx)


def test_yolact(tmp_path):
    """A branch for training."""
    cfg = get_config('mmdet::yolact/yolact_r50_1xb8-55e_coco.py').model
    cfg.backbone.init_cfg = None
    cfg.backbone.update(depth=18, base_channels=8)
    cfg.neck.update(in_channels=[8, 16, 32, 64], out_channels=32)
    cfg.bbox_head.update(in_channels=32, feat_channels=32)
    cfg.mask_head.in_channels = 32
    ctx = context(build_stock(cfg), tmp_path)
    found = {name: note for name, note in notes(ctx).items() if 'never executed' in note}
    assert found == {'mask_head.segm_branch.segm_conv': 'never executed in predict mode'}


def test_reppoints_on_maps_smaller_than_the_kernel(tmp_path):
    head = dict(in_channels=32, feat_channels=32, point_feat_channels=32, num_classes=5)
    path = 'reppoints/reppoints-moment_r50_fpn_1x_coco'
    model = build_stock(narrow(path, bbox_head=head))
    model = mmptq.quantize(model, batches(), recipe='minmax', work_dir=tmp_path)
    with torch.no_grad():
        data = model.data_preprocessor(batches(1)[0], False)
        assert len(model(**data, mode='predict')) == 1


class Encoded(nn.Module):
    """RT-DETR's neck in short: an encoder over the last level."""

    def __init__(self, neck: nn.Module):
        super().__init__()
        self.neck = neck
        layer = nn.TransformerEncoderLayer(32, 2, 64, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)

    def forward(self, inputs):
        *levels, last = self.neck(inputs)
        rows = self.encoder(last.flatten(2).transpose(1, 2))
        return (*levels, rows.transpose(1, 2).reshape(last.shape))


def test_attention_in_a_neck_is_what_was_calibrated(tmp_path):
    model = build_stock(stock_config('retinanet'))
    model.neck = Encoded(model.neck).eval()
    model = mmptq.quantize(model, batches(), 'w4a4', 'minmax')
    data = model.data_preprocessor(batches(1)[0], False)
    layer = model.neck.encoder.layers[0]
    with torch.no_grad():
        without_hooks = model(**copy.deepcopy(data), mode='tensor')
        layer.linear1.register_forward_hook(lambda *_: None)
        with_hooks = model(**copy.deepcopy(data), mode='tensor')
    for x, y in zip(sum(without_hooks, []), sum(with_hooks, []), strict=True):
        assert torch.equal(x, y)
    assert layer.linear1.input_quantizer.scheme.bits == 4


@pytest.mark.parametrize('kind', ['plain', 'parametrized', 'hook'])
def test_weight_norm_below_a_norm(kind, tmp_path):
    from mmcv.cnn import ConvModule

    torch.manual_seed(0)
    block = ConvModule(3, 16, 3, norm_cfg=dict(type='BN')).eval()
    block.norm.running_var.uniform_(0.2, 2)
    block.norm.running_mean.normal_()
    if kind == 'parametrized':
        nn.utils.parametrizations.weight_norm(block.conv)
    elif kind == 'hook':
        nn.utils.weight_norm(block.conv)
    model = nn.Sequential(block, nn.Conv2d(16, 16, 1)).eval()
    x = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        expected = model(x)
        ctx = context(model, tmp_path, [x])
        with quantizers_off(model):
            torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-4)
    assert bool(ctx.plan.folded) == (kind == 'plain')


def cascade() -> nn.Module:
    cfg = narrow('cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco')
    cfg.rpn_head.update(in_channels=32, feat_channels=32)
    cfg.roi_head.bbox_roi_extractor.out_channels = 32
    for head in cfg.roi_head.bbox_head:
        head.update(in_channels=32, fc_out_channels=32, num_classes=5)
    cfg.test_cfg.rpn.max_per_img = 30
    return build_stock(cfg)


class OtherRoIHead(CascadeRoIHead):
    """One that no adapter knows, since it has a forward of its own."""

    def forward(self, *args):
        return super().forward(*args)


def test_proposals_without_an_adapter(tmp_path):
    model = cascade()
    model.roi_head.__class__ = OtherRoIHead
    ctx = context(model, tmp_path)
    Calibrator().run(ctx)
    Reconstructor('block', num_iters=1, batch_size=1).run(ctx)
    records = {record['kind']: record['rows'] for record in ctx.run_record.records}
    left = [row['unit'] for row in records['left_alone']]
    assert left == [f'roi_head.bbox_head.{stage}' for stage in range(3)]
    learned = [row['unit'] for row in records['reconstruction']]
    assert 'rpn_head' in learned
    assert not any(name.startswith('roi_head') for name in learned)
    heads = ctx.model.roi_head.bbox_head
    assert all(head.fc_cls.weight_quantizer.rounding is None for head in heads)


@pytest.mark.parametrize('build', [lambda: build_stock(stock_config('faster_rcnn')), cascade])
def test_proposals_of_an_adapter_are_learned(build, tmp_path):
    ctx = context(build(), tmp_path)
    Calibrator().run(ctx)
    Reconstructor('block', num_iters=1, batch_size=1).run(ctx)
    kinds = {record['kind']: record['rows'] for record in ctx.run_record.records}
    assert 'left_alone' not in kinds
    assert any(row['unit'].startswith('roi_head') for row in kinds['reconstruction'])


def test_sassd(tmp_path):
    """An auxiliary network that only trains."""
    pytest.importorskip('spconv.pytorch')
    pytest.importorskip('mmdet3d')
    from lidar_models import build, random_scan, stock_model_config, tiny_anchor_model

    second = tiny_anchor_model('second')
    cfg = stock_model_config('second')
    cfg.middle_encoder.update(
        type='SparseEncoderSASSD',
        in_channels=4,
        sparse_shape=[9, 16, 16],
        base_channels=8,
        output_channels=8,
        encoder_channels=((8,), (16, 16), (64,), (64,)),
        encoder_paddings=((1,), (1, 1), (1,), (1,)),
    )
    encoder = build(ConfigDict(cfg.middle_encoder))
    names = ('point_fc', 'point_cls', 'point_reg')
    for name in names:
        setattr(second.middle_encoder, name, getattr(encoder, name))
    data = []
    from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes

    for seed in range(2):
        sample = Det3DDataSample(metainfo=dict(box_type_3d=LiDARInstance3DBoxes))
        points = random_scan(columns=4, seed=seed)
        data.append(dict(inputs=dict(points=[points]), data_samples=[sample]))
    ctx = context(second, tmp_path, data)
    found = {name for name, note in notes(ctx).items() if note == 'never executed in predict mode'}
    assert found == {f'middle_encoder.{name}' for name in names}
    Calibrator().run(ctx)

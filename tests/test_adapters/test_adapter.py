"""Finding the adapter of a model."""

import pytest
from mmdet.registry import MODELS
from mmengine.registry import TASK_UTILS
from stock_models import build_stock, stock_config
from torch import nn

from mmptq.adapters import AnchorHeadAdapter, build_adapter
from mmptq.adapters.parts import matches_head
from mmptq.quantization import QuantizationError


def test_a_head_without_adapter_is_named():
    model = nn.Module()
    model.bbox_head = nn.Linear(1, 1)
    with pytest.raises(QuantizationError, match=r'no adapter for Module with Linear.*head_types'):
        build_adapter(model)
    with pytest.raises(QuantizationError, match='it has no bbox_head, pts_bbox_head or lane_head'):
        build_adapter(nn.Module())


def test_subclasses_that_compute_something_else_are_refused():
    cfg = stock_config('retinanet')
    cfg.bbox_head.type = 'FSAFHead'  # a RetinaHead with another forward
    cfg.bbox_head.anchor_generator = dict(
        type='AnchorGenerator',
        octave_base_scale=1,
        scales_per_octave=1,
        ratios=[1.0],
        strides=[8, 16, 32, 64, 128],
    )
    cfg.bbox_head.bbox_coder = dict(type='TBLRBBoxCoder', normalizer=4.0)
    cfg.bbox_head.reg_decoded_bbox = True
    with pytest.raises(QuantizationError, match='FSAFHead'):
        build_adapter(build_stock(cfg))


def test_students_of_a_teacher_are_refused():
    class LDHead(nn.Module):
        pass

    model = nn.Module()
    model.bbox_head = LDHead()
    assert not matches_head(model.bbox_head, ('LDHead', 'GFLHead'))
    with pytest.raises(QuantizationError, match='no adapter for Module with LDHead'):
        build_adapter(model)


def test_subclasses_that_compute_the_same_are_accepted():
    class OwnHead(MODELS.get('RetinaHead')):
        def loss_by_feat(self, *args):
            return {}

    model = build_stock(stock_config('retinanet'))
    model.bbox_head.__class__ = OwnHead
    assert isinstance(build_adapter(model), AnchorHeadAdapter)


def test_a_new_family_is_one_registered_class():
    class OtherHead(nn.Module):
        def forward(self, x):
            return x

    @TASK_UTILS.register_module()
    class OtherHeadAdapter(AnchorHeadAdapter):
        head_types = ('OtherHead',)

    try:
        model = nn.Module()
        model.bbox_head = OtherHead()
        assert isinstance(build_adapter(model), OtherHeadAdapter)
        assert not matches_head(None, ('OtherHead',))
    finally:
        TASK_UTILS.module_dict.pop('OtherHeadAdapter')


def test_a_loss_needs_the_target_assignment():
    cfg = stock_config('retinanet')
    cfg.train_cfg = None
    adapter = build_adapter(build_stock(cfg))
    with pytest.raises(QuantizationError, match=r"'bbox_head' has no train_cfg"):
        adapter.loss((), {}, [])


def test_an_adapter_of_a_model_without_head_is_refused():
    with pytest.raises(QuantizationError, match='Module has no bbox_head or pts_bbox_head: pass'):
        AnchorHeadAdapter(nn.Module())
    model = nn.Module()
    model.other = nn.Module()
    assert AnchorHeadAdapter(model, 'other').head is model.other

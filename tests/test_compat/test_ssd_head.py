"""The attribute that mmdet's SSD head lacks."""

import pytest
import torch
from mmdet.models.dense_heads import SSDHead
from stock_models import build_stock, image_batch, stock_config
from torch import nn

from mmptq.compat.ssd_head import give_ssd_a_loss


def test_ssd_predicts():
    cfg = stock_config('ssd')
    cfg.bbox_head.anchor_generator.input_size = 96
    model = build_stock(cfg)
    data = image_batch(model)
    with torch.no_grad():
        (found,) = model(**data, mode='predict')
    assert 'pred_instances' in found


def test_a_subclass_keeps_its_own_loss():
    head = SSDHead.__new__(SSDHead)
    nn.Module.__init__(head)
    assert head.loss_cls is None
    head.loss_cls = nn.L1Loss()
    assert isinstance(head.loss_cls, nn.L1Loss)


def test_it_is_undone(monkeypatch):
    saved = vars(SSDHead)['loss_cls']
    monkeypatch.setattr(SSDHead, 'loss_cls', saved)  # put back at the end
    del SSDHead.loss_cls
    undo = give_ssd_a_loss()
    assert hasattr(SSDHead, 'loss_cls')
    assert give_ssd_a_loss() is None  # nothing left to do
    undo()
    with pytest.raises(AttributeError):
        SSDHead.loss_cls  # noqa: B018

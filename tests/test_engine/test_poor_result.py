"""The warning about a metric that fell, and what it says to do."""

import torch
from helpers import QUANTIZER
from torch import nn

from mmptq.engine.poor_result import warn_of_drop
from mmptq.ptq import AutoTuner, Calibrator, PTQContext
from mmptq.ptq.run import prepare_model


def warning(tmp_path, before, after, stages, rows=()):
    ctx = PTQContext(nn.Sequential(nn.Linear(4, 4)).eval(), [torch.randn(8, 4)], tmp_path, seed=0)
    prepare_model(ctx, QUANTIZER)
    if rows:
        ctx.record('diagnosis', list(rows))
    found = []
    ctx.logger.warning = found.append
    try:
        warn_of_drop(ctx, stages, before, after)
    finally:
        del ctx.logger.warning
    return found


def test_a_drop_of_more_than_one_percent(tmp_path):
    before, after = {'coco/bbox_mAP': 0.5, 'coco/bbox_mAP_50': 0.7}, {'coco/bbox_mAP': 0.49}
    (text,) = warning(tmp_path, before, after, [Calibrator()])
    assert text.startswith('coco/bbox_mAP fell by 2.0%, from 0.5000 to 0.4900: leave out --scheme')
    assert 'use --recipe auto' in text


def test_the_worst_layers_after_the_search(tmp_path):
    rows = [
        dict(layer='0', output_loss=0.1, cause='points'),
        dict(layer='gone', output_loss=0.9, cause=None),
    ]
    before, after = {'f1': 0.9}, {'f1': 0.5}
    (text,) = warning(tmp_path, before, after, [Calibrator(), AutoTuner()], rows)
    assert text.endswith("the layers that cost most are '0' (points); add --float '0'")


def test_quiet(tmp_path):
    for before, after in (
        ({}, {'mAP': 0.1}),
        ({'mAP': 0.5}, {}),
        ({'mAP': 0.5}, {'mAP': 0.4951}),
        ({'mAP': 0.5}, {'mAP': 0.6}),
        ({'mAP': 0.0}, {'mAP': 0.0}),
        ({'name': 'x'}, {'name': 'y'}),
    ):
        assert warning(tmp_path, before, after, [Calibrator()]) == []


def test_no_number_after_quantization(tmp_path):
    for value in (float('nan'), None):
        before, after = {'other': float('nan'), 'mAP': 0.5}, {'mAP': value}
        (text,) = warning(tmp_path, before, after, [Calibrator()])
        assert text == f'mAP of the quantized model is {value}, no number'
    assert warning(tmp_path, {'mAP': float('nan')}, {'mAP': 0.5}, [Calibrator()]) == []

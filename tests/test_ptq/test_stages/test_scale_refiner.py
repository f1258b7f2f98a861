"""The stage that fits scales of layer inputs to inliers."""

import json

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, TASK_UTILS
from reconstruction import toy_context

import mmptq
from mmptq.losses import TaskLoss
from mmptq.ptq import Calibrator, ScaleRefiner, build_stages
from mmptq.ptq.resume import ResumeStore
from mmptq.ptq.teacher.importance import Importance
from mmptq.quantization import QuantizationError, quantized_layers, quantizers_off
from mmptq.report import read_record

LOSS = dict(type='TopKConfidenceLoss', k=2)
INLIERS = dict(type='InlierImportance', loss=LOSS)


@TASK_UTILS.register_module()
class EverythingCounts(Importance):
    """No selection."""

    def fit(self, gradients):
        pass

    def weights(self, name, sample, call, side='output'):
        return [1.0]


@MODELS.register_module()
class BrokenLoss(TaskLoss):
    """Its gradient is not finite."""

    needs_target = False

    def forward(self, adapter, raw, data, target):
        return (adapter.outputs(raw)[0].scores * torch.inf).sum()


def minmax(tmp_path, model=None):
    ctx = toy_context(tmp_path, model)
    Calibrator().run(ctx)
    return ctx


def scales(ctx):
    return {
        name: q.input_quantizer.scale.clone() for name, q in quantized_layers(ctx.model).items()
    }


def test_errors_decrease_and_weights_stay(tmp_path):
    ctx = minmax(tmp_path)
    layers = quantized_layers(ctx.model)
    weights = {name: layer.weight_quantizer.scale.clone() for name, layer in layers.items()}
    with quantizers_off(ctx.model):
        floats = ctx.model(**ctx.first_batch())
    before = scales(ctx)
    ScaleRefiner(INLIERS, num_iters=10).run(ctx)
    after = scales(ctx)
    assert any(after[name] < before[name] for name in after)
    for name, layer in layers.items():
        assert torch.equal(layer.weight_quantizer.scale, weights[name])
    with quantizers_off(ctx.model):
        again = ctx.model(**ctx.first_batch())
    assert all(torch.equal(*pair) for pair in zip(sum(floats, []), sum(again, []), strict=True))
    rows = read_record(tmp_path, 'scale_refinement')
    assert [row['layer'] for row in rows] == [plan.name for plan in ctx.plan.layers]
    assert all(row['after'] <= row['before'] for row in rows)
    shares = {row['layer']: row for row in read_record(tmp_path, 'importance')}
    assert shares.keys() == set(after)
    assert shares['bbox_head.boxes']['note'] != '' and shares['bbox_head.scores']['note'] == ''
    assert not any(layer._forward_pre_hooks for layer in layers.values())
    assert not list((tmp_path / 'cache').glob('*.bin'))


def test_without_selection_the_error_is_that_of_mse(tmp_path):
    ctx = minmax(tmp_path)
    ScaleRefiner(dict(type='EverythingCounts', loss=LOSS), num_positions=1000, num_iters=0).run(ctx)
    refined = scales(ctx)
    mse = scales(toy_context(tmp_path / 'mse'))  # LpObserver, p = 2
    for name, scale in mse.items():
        torch.testing.assert_close(refined[name], scale, rtol=0.05, atol=0)


def test_same_seed_same_scales_under_any_budget(tmp_path):
    found = []
    for budget in (2**30, 2**14):
        ctx = minmax(tmp_path / str(budget))
        ScaleRefiner(INLIERS, num_iters=3, num_positions=20, cache_budget=budget).run(ctx)
        found.append(scales(ctx))
    for name, scale in found[0].items():  # half precision beyond the budget
        torch.testing.assert_close(scale, found[1][name], rtol=0.05, atol=0)
    ctx = minmax(tmp_path / 'again')
    ScaleRefiner(INLIERS, num_iters=3, num_positions=20).run(ctx)
    assert all(torch.equal(scale, found[0][name]) for name, scale in scales(ctx).items())


def test_resumed_run_takes_over(tmp_path, monkeypatch):
    found = []
    for resume in (False, True):
        ctx = minmax(tmp_path)
        ctx.resume = ResumeStore(tmp_path / 'resume', {}, resume)
        ScaleRefiner(INLIERS, num_iters=2).run(ctx)
        found.append((scales(ctx), read_record(tmp_path, 'scale_refinement')))
        monkeypatch.setattr(ScaleRefiner, '_refine', None)
    assert all(torch.equal(found[0][0][name], scale) for name, scale in found[1][0].items())
    assert json.dumps(found[0][1]) == json.dumps(found[1][1])


def test_projected_errors(tmp_path):
    ctx = minmax(tmp_path)
    ScaleRefiner(dict(INLIERS, curvature='rank_one'), num_iters=3).run(ctx)
    rows = read_record(tmp_path, 'scale_refinement')
    assert all(row['after'] <= row['before'] for row in rows)


def test_samples_without_a_response_are_left_out(tmp_path, caplog):
    MMLogger.get_current_instance().addHandler(caplog.handler)
    ctx = minmax(tmp_path)
    with torch.no_grad(), quantizers_off(ctx.model):
        best = [max(x.max() for x in ctx.model(**data)[0]).sigmoid() for data in ctx.loader]
    between = float(sorted(best)[1] + sorted(best)[2]) / 2
    loss = dict(LOSS, score_thr=between)
    ScaleRefiner(dict(type='InlierImportance', loss=loss), num_iters=0).run(ctx)
    assert 'no target in 2 of 6 calibration samples, this loss ignores them' in caplog.text
    loss['score_thr'] = 0.9999
    with pytest.raises(QuantizationError, match='gives TopKConfidenceLoss no target in 6 of 6'):
        ScaleRefiner(dict(type='InlierImportance', loss=loss)).run(ctx)


def test_gradients_that_are_not_finite(tmp_path, caplog):
    MMLogger.get_current_instance().addHandler(caplog.handler)
    ctx = minmax(tmp_path)
    before = scales(ctx)
    ScaleRefiner(dict(type='InlierImportance', loss=dict(type='BrokenLoss')), num_iters=0).run(ctx)
    assert 'because its gradients are not finite: ' in caplog.text
    assert any(scale < before[name] for name, scale in scales(ctx).items())  # no weighting


def test_a_model_without_an_adapter_is_refused():
    model, data = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1)), [torch.rand(1, 3, 4, 4)]
    scheme = dict(weight=dict(bits=4), act=dict(bits=4), rules=[])
    recipe = [dict(type='Calibrator'), dict(type='ScaleRefiner')]
    with pytest.raises(QuantizationError, match='ScaleRefiner.*no adapter for Sequential'):
        mmptq.quantize(model, data, scheme, recipe)


def test_order_and_options():
    stages = [dict(type='ScaleRefiner')]
    with pytest.raises(QuantizationError, match='put Calibrator before ScaleRefiner'):
        build_stages(stages)
    with pytest.raises(QuantizationError, match='num_positions=0'):
        ScaleRefiner(num_positions=0)
    with pytest.raises(QuantizationError, match='ScaleRefiner cannot use FisherImportance'):
        ScaleRefiner(importance=dict(type='FisherImportance'))
    with pytest.raises(QuantizationError, match='unknown'):
        ScaleRefiner(importance=dict(type='InlierImportance', loss=dict(type='Nothing')))

"""Distillation of the float model into the quantized one."""

import logging

import pytest
import torch
from reconstruction import toy_context

from mmptq.ptq import Distillation
from mmptq.ptq.resume import ResumeStore
from mmptq.ptq.teacher.teacher_outputs import TeacherOutputs
from mmptq.ptq.units.find import find_units
from mmptq.ptq.units.student import Student
from mmptq.ptq.units.unit_quantizers import UnitQuantizers
from mmptq.ptq.variants.fresh_images import FreshImages
from mmptq.quantization import HardRounding, QuantizationError, quantized_layers, quantizers_off
from mmptq.report import read_record


@torch.no_grad()
def distance(ctx, targets) -> float:
    """Mean squared distance of the scores from those of the float model."""
    outputs = [ctx.predict(data)[0][0] for data in ctx.loader]
    return sum((x - y).square().mean() for x, y in zip(outputs, targets, strict=True)).item()


@torch.no_grad()
def float_scores(ctx):
    with quantizers_off(ctx.model):
        return [ctx.predict(data)[0][0] for data in ctx.loader]


def tensors(ctx) -> dict:
    return {name: x.clone() for name, x in ctx.model.state_dict().items()}


def distill(ctx, **kwargs) -> dict:
    Distillation(**dict(dict(num_iters=60, lr=5e-3), **kwargs)).run(ctx)
    return read_record(ctx.work_dir, 'distillation')


def test_outputs_come_closer_to_the_float_ones(tmp_path):
    ctx = toy_context(tmp_path)
    targets = float_scores(ctx)
    first, before = tensors(ctx), distance(ctx, targets)
    result = distill(ctx)
    assert result['kept'] and result['after'] < 0.8 * result['before']
    assert distance(ctx, targets) < before
    changed = {name for name, x in tensors(ctx).items() if not torch.equal(x, first[name])}
    for kind in ('weight', 'bias', 'input_quantizer.scale'):
        assert {f'{name}.{kind}' for name in quantized_layers(ctx.model)} <= changed
    assert not any('weight_quantizer' in name for name in changed)  # the grids stay
    assert all(x.requires_grad and x.grad is None for x in ctx.model.parameters())


def test_scales_stay_without_a_rate(tmp_path):
    ctx = toy_context(tmp_path)
    first = tensors(ctx)
    distill(ctx, act_lr=None)
    names = [name for name in first if name.endswith('input_quantizer.scale')]
    assert names and all(torch.equal(first[name], tensors(ctx)[name]) for name in names)


def test_rounding_of_an_earlier_stage_is_where_it_starts(tmp_path):
    ctx = toy_context(tmp_path)
    layer = quantized_layers(ctx.model)['stem.0']
    quantizer, before = layer.weight_quantizer, layer.weight.detach().clone()
    up = torch.rand(layer.weight.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    quantizer.rounding = HardRounding(up)
    with torch.no_grad():
        expected = quantizer(layer.weight)
    (unit,) = find_units(ctx.model, lambda: ctx.predict(next(iter(ctx.loader))), 'network')
    with Student(ctx.model, UnitQuantizers(unit)).learning(1e-3, None), torch.no_grad():
        assert quantizer.rounding is None
        torch.testing.assert_close(quantizer(layer.weight), expected)
        kept = quantizer(before) == expected
        assert not kept.all() and torch.equal(layer.weight[kept], before[kept])
        steps = (layer.weight - before) / quantizer.scheme.broadcast(quantizer.scale, 4)
        assert (steps[~kept].abs() < 1).all()


@pytest.mark.parametrize('lr', [10.0, 1e30])
def test_a_worse_or_infinite_result_is_reverted(tmp_path, lr, caplog):
    ctx = toy_context(tmp_path)
    first = tensors(ctx)
    ctx.logger.addHandler(caplog.handler)
    with caplog.at_level(logging.WARNING):
        assert not distill(ctx, num_iters=4, lr=lr)['kept']
    ctx.logger.removeHandler(caplog.handler)
    assert 'reverted: loss did not decrease' in caplog.text
    last = tensors(ctx)
    assert first.keys() == last.keys() and all(torch.equal(first[k], last[k]) for k in first)


def test_all_samples_decide_whether_it_became_better(tmp_path, monkeypatch):
    ctx = toy_context(tmp_path)
    seen = []
    monkeypatch.setattr(
        TeacherOutputs,
        'parts',
        lambda self, index, raw: seen.append(index) or dict(loss=raw[0][0].sum()),
    )
    distill(ctx, num_iters=1, batch_size=1)
    count = len(ctx.loader)
    assert seen[:count] == seen[-count:] == list(range(count)) and len(seen) == 2 * count + 1


class Killed(Exception):
    pass


class KillingStore(ResumeStore):
    """Is killed right after the second state was saved."""

    saved = 0

    def save(self, name, state):
        super().save(name, state)
        self.saved += 1
        if self.saved == 2:
            raise Killed


@pytest.mark.parametrize('lr', [5e-3, 0.5])  # the second is lowered on the way
def test_a_killed_run_goes_on_and_ends_the_same(tmp_path, monkeypatch, lr, **options):
    monkeypatch.setattr('mmptq.ptq.stages.distillation.LOG_INTERVAL', 5)
    whole = toy_context(tmp_path / 'whole')
    distill(whole, num_iters=18, lr=lr, **options)

    def context(store, resume):
        ctx = toy_context(tmp_path / 'killed')
        ctx.resume = store(tmp_path / 'resume', {}, resume)
        ctx.resume.stage = 'stage'
        return ctx

    with pytest.raises(Killed):
        distill(context(KillingStore, False), num_iters=18, lr=lr, **options)
    again = context(ResumeStore, True)
    state = again.resume.load('step')
    assert state['step'] == 10 and (state['rate'] < 1) == (lr > 0.1)
    distill(again, num_iters=18, lr=lr, **options)
    first, second = tensors(whole), tensors(again)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_rate_that_is_too_high_is_lowered(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr('mmptq.ptq.stages.distillation.LOG_INTERVAL', 10)
    ctx = toy_context(tmp_path / 'high')
    ctx.logger.addHandler(caplog.handler)
    with caplog.at_level(logging.WARNING):
        result = distill(ctx, lr=0.5)
    ctx.logger.removeHandler(caplog.handler)
    assert result['kept'] and 'smaller rate: with lr=0.5 the loss rose' in caplog.text
    # From the very same start, like a run with the lower rate.
    other = toy_context(tmp_path / 'low')
    distill(other, lr=0.5 * 0.1 ** caplog.text.count('starts again'))
    first, second = tensors(ctx), tensors(other)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_no_foreground_is_an_error(tmp_path):
    ctx = toy_context(tmp_path)
    loss = dict(type='DetectionOutputLoss', score_thr=0.999999)
    with pytest.raises(QuantizationError, match='no target in 6 of 6 calibration samples'):
        Distillation(loss).run(ctx)


def test_samples_without_foreground_are_left_out(tmp_path):
    ctx = toy_context(tmp_path)
    with torch.no_grad(), quantizers_off(ctx.model):
        levels = [ctx.predict(data)[0] for data in ctx.loader]
    scores = [max(x.sigmoid().amax().item() for x in maps) for maps in levels]
    threshold = sorted(scores)[2]  # three of six are above
    loss = dict(type='DetectionOutputLoss', score_thr=threshold)
    stage = Distillation(loss, num_iters=2)
    seen = []
    chosen = stage._chosen
    stage._chosen = lambda seed, step, count: seen.append(count) or chosen(seed, step, count)
    stage.run(ctx)
    assert set(seen) == {3}


def test_bad_options():
    with pytest.raises(QuantizationError, match='num_iters=0'):
        Distillation(num_iters=0)


def test_a_model_without_a_backward_is_refused(tmp_path):
    ctx = toy_context(tmp_path)
    forward = ctx.model.forward
    ctx.model.forward = torch.no_grad()(forward)
    first = tensors(ctx)
    with pytest.raises(QuantizationError, match='no gradients go through the model .* such as mse'):
        distill(ctx)
    assert all(torch.equal(x, first[name]) for name, x in tensors(ctx).items())


def test_copies_of_images_are_learned_from_as_well(tmp_path, monkeypatch):
    ctx = toy_context(tmp_path)
    seen, parts = set(), TeacherOutputs.parts

    def watched(self, index, raw):
        seen.add(index)
        return parts(self, index, raw)

    monkeypatch.setattr(TeacherOutputs, 'parts', watched)
    result = distill(ctx, copies=2)
    assert seen == set(range(3 * len(ctx.loader)))
    assert result['kept'] and result['after'] < result['before']


def test_copies_cannot_be_negative():
    with pytest.raises(QuantizationError, match='lr and copies >= 0'):
        Distillation(copies=-1)


def test_the_float_model_looks_at_the_same_new_images(tmp_path, monkeypatch):
    ctx = toy_context(tmp_path)
    data = dict(next(iter(ctx.loader)))
    with torch.no_grad(), quantizers_off(ctx.model):
        floats = ctx.predict(data)[0]
    seen, batch = [], FreshImages.batch

    def watched(self, chosen, step):
        seen.append(len(chosen))
        return batch(self, chosen, step)

    monkeypatch.setattr(FreshImages, 'batch', watched)
    (unit,) = find_units(ctx.model, lambda: ctx.predict(data), 'network')
    student = Student(ctx.model, UnitQuantizers(unit))
    original = student.state()
    result = distill(ctx, variants=dict(zoom=0.1), batch_size=3)
    assert seen == [3] * 60 and result['kept'] and result['after'] < result['before']
    learned = tensors(ctx)
    with student.as_float(original):
        again = ctx.predict(data)[0]
    assert all(torch.equal(x, y) for x, y in zip(floats, again, strict=True))
    assert all(torch.equal(x, learned[name]) for name, x in tensors(ctx).items())


def test_a_killed_run_with_new_images_goes_on_and_ends_the_same(tmp_path, monkeypatch):
    test_a_killed_run_goes_on_and_ends_the_same(tmp_path, monkeypatch, 5e-3, variants=dict())


def test_unknown_variants():
    with pytest.raises(QuantizationError, match="variants has no 'turn'"):
        Distillation(variants=dict(turn=3))

"""A new loss, importance or rounding is a registered class: no shared code changes."""

import pytest
import torch
from mmengine.registry import MODELS, TASK_UTILS
from reconstruction import ToyAdapter, toy_context
from torch import nn

from mmptq.losses import TaskLoss
from mmptq.ptq import AdaRound, Distillation, Importance, Reconstructor, WeightRounding
from mmptq.ptq.resume import ResumeStore
from mmptq.quantization import HardRounding, quantized_layers


@MODELS.register_module()
class TwoHeadLoss(TaskLoss):
    """Squared errors of scores and boxes, and a record of all hooks."""

    made: list['TwoHeadLoss'] = []  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.prepared, self.steps, self.modes, self.targets = [], [], set(), 0
        self.register_buffer('count', torch.zeros(()))
        self.made.append(self)

    def make_target(self, adapter, raw, data):
        self.targets += 1
        return adapter.outputs(raw)

    def prepare(self, teacher):
        assert isinstance(teacher.adapter, ToyAdapter)
        zero = teacher.parts(2, teacher.float_raw(2))
        assert zero['scores'] == zero['boxes'] == 0
        assert teacher.parts(2, teacher.raw_outputs(2))['scores'] > 0
        self.prepared.append((len(teacher), len(teacher.found), teacher.target(0)[0].name))

    def forward(self, adapter, raw, data, target):
        self.modes.add((self.training, torch.is_grad_enabled()))
        (pred,) = adapter.outputs(raw)
        (float_output,) = target
        return dict(
            scores=(pred.scores - float_output.scores).square().mean(),
            boxes=(pred.regs['bbox'] - float_output.regs['bbox']).square().mean(),
        )

    def after_step(self, step, losses):
        assert not any(loss.requires_grad or loss.dim() for loss in losses.values())
        self.count += 1
        self.steps.append((step, set(losses)))


HEADS = {'scores', 'boxes'}


@pytest.mark.parametrize(('granularity', 'units'), [('network', 1), ('block', 4)])
@pytest.mark.parametrize('loss', [None, dict(type='LpLoss')])
def test_hooks_of_a_loss_in_reconstruction(tmp_path, granularity, units, loss):
    ctx = toy_context(tmp_path)
    options = dict(granularity=granularity, loss=loss, num_iters=5, batch_size=2)
    Reconstructor(task_loss=dict(type='TwoHeadLoss'), **options).run(ctx)
    made = TwoHeadLoss.made[-1]
    assert made.targets == 6
    assert made.prepared == [(6, 6, 'bbox_head')]
    assert made.steps == [(step, HEADS) for step in range(5)] * units
    # (training, with gradients): learning steps; losses before and after; calls in prepare.
    assert made.modes == {(True, True), (False, False), (False, True)}
    rounding = [q.weight_quantizer.rounding for q in quantized_layers(ctx.model).values()]
    assert any(isinstance(r, HardRounding) for r in rounding)


def test_hooks_of_a_loss_in_distillation(tmp_path):
    stage = Distillation(dict(type='TwoHeadLoss'), num_iters=7)
    stage.run(toy_context(tmp_path))
    assert stage.loss.prepared == [(6, 6, 'bbox_head')]
    assert stage.loss.steps == [(step, HEADS) for step in range(7)]


def test_buffers_of_a_loss_survive_a_resume(tmp_path):
    for resume in (False, True):
        ctx = toy_context(tmp_path)
        ctx.resume = ResumeStore(tmp_path / 'resume', {}, resume)
        Reconstructor(task_loss=dict(type='TwoHeadLoss'), num_iters=3).run(ctx)
        assert TwoHeadLoss.made[-1].count == 12
    assert TwoHeadLoss.made[-1].steps == []  # all units were finished


@MODELS.register_module()
class ScoreHeightLoss(TaskLoss):
    """Looks at the outputs of the model alone, as the auxiliary loss of InlierQ does."""

    needs_target = False

    def forward(self, adapter, raw, data, target):
        assert target is None
        (output,) = adapter.outputs(raw)
        return -output.probabilities().flatten().topk(5).values.log().mean()


@TASK_UTILS.register_module()
class PooledSaliency(Importance):
    """Positions whose gradient is above the median of all samples; records what it was given."""

    last: 'PooledSaliency'

    def __init__(self):
        super().__init__(dict(type='ScoreHeightLoss'))
        self.fits = 0
        PooledSaliency.last = self

    def fit(self, gradients):
        self.fits += 1
        self.gradients = gradients
        self.samples = gradients.samples('stem')
        pooled = [self._saliency('stem', sample, 0)[0].flatten() for sample in self.samples]
        self.median = torch.cat(pooled).median()

    def _saliency(self, name, sample, call):
        found = self.gradients.of(name, sample, call)
        return [0.0 if x is None else x.abs().sum(1, keepdim=True) for x in found]

    def weights(self, name, sample, call):
        return [
            x if isinstance(x, float) else (x > self.median).float()
            for x in self._saliency(name, sample, call)
        ]


def learned_weights(ctx) -> torch.Tensor:
    layers = quantized_layers(ctx.model).values()
    return torch.cat([layer.weight_quantizer(layer.weight).flatten() for layer in layers])


def test_an_importance_from_one_backward_per_sample(tmp_path, monkeypatch):
    ctx = toy_context(tmp_path)
    backwards, backward = [], torch.Tensor.backward
    monkeypatch.setattr(
        torch.Tensor, 'backward', lambda *args: backwards.append(0) or backward(*args)
    )
    Reconstructor(importance=dict(type='PooledSaliency'), num_iters=10, batch_size=2).run(ctx)
    importance = PooledSaliency.last
    assert importance.fits == 1 and importance.samples == list(range(6))
    # One backward per sample for the gradients at all four units; samples of one size learn as
    # one batch, so that a step has one backward.
    assert len(backwards) == 6 + 4 * 10
    plain = toy_context(tmp_path)
    Reconstructor(num_iters=10, batch_size=2).run(plain)
    assert not torch.equal(learned_weights(ctx), learned_weights(plain))


class Sigmoid(nn.Module):
    """A fraction between two grid points without AdaRound's stretched sigmoid."""

    def __init__(self, weight, quantizer):
        super().__init__()
        scale = quantizer.scheme.broadcast(quantizer.scale, weight.dim())
        self.below = (weight / scale).floor()
        fraction = (weight / scale - self.below).clamp(0.01, 0.99)
        self.logit = nn.Parameter(fraction.logit())

    def forward(self, weight, scale, zero_point, scheme):
        return (self.below + self.logit.sigmoid()) * scheme.broadcast(scale, weight.dim())

    def harden(self):
        return HardRounding(self.logit.detach() >= 0)


@TASK_UTILS.register_module()
class SigmoidRounding(WeightRounding):
    """Learns with Sigmoid and counts its hooks."""

    calls: list[str] = []  # noqa: RUF012

    def __init__(self, lr=0.05):
        self.lr = lr

    def begin(self, weight, quantizer):
        self.calls.append('begin')
        return Sigmoid(weight.detach(), quantizer)

    def before_step(self, modules):
        self.calls.append('before')
        assert all(module.logit.grad is None or len(modules) for module in modules)

    def after_backward(self, modules, progress):
        self.calls.append(f'after {progress}')
        assert all(module.logit.grad is not None for module in modules)


def test_a_rounding(tmp_path, monkeypatch):
    monkeypatch.setattr(AdaRound, 'begin', None)  # is not used
    ctx = toy_context(tmp_path)
    before = learned_weights(ctx)
    SigmoidRounding.calls.clear()
    options = dict(granularity='network', num_iters=4, batch_size=2)
    Reconstructor(rounding=dict(type='SigmoidRounding', lr=0.3), **options).run(ctx)
    steps = [text for step in range(4) for text in ('before', f'after {step / 4}')]
    assert SigmoidRounding.calls == ['begin'] * 8 + steps
    after = learned_weights(ctx)
    assert not torch.equal(before, after)
    quantizers = [layer.weight_quantizer for layer in quantized_layers(ctx.model).values()]
    assert all(isinstance(quantizer.rounding, HardRounding) for quantizer in quantizers)

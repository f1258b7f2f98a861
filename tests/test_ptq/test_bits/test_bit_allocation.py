"""Bits under a budget on tiny networks."""

import json

import pytest
import torch
from helpers import QUANTIZER
from torch import nn

import mmptq
from mmptq.engine.checkpoint import plan_of
from mmptq.ptq import BitAllocation, Calibrator, PTQContext
from mmptq.ptq.bits.bit_problem import BitProblem
from mmptq.ptq.bits.layer_scores import between
from mmptq.ptq.run import finish_model, prepare_model
from mmptq.quantization import QuantizationError, model_size
from mmptq.quantization.limits import SchemeLimits


class Net(nn.Module):
    """Two branches that read one tensor, and a layer that runs twice."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.left, self.right = nn.Conv2d(8, 16, 1), nn.Conv2d(8, 16, 3, padding=1)
        self.last = nn.Conv2d(16, 40, 1)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        x = self.stem(x).relu()
        return self.last(self.left(x).relu()) + self.last(self.right(x).relu())


COUNTS = dict(stem=216, left=128, right=1152, last=640)


def context(tmp_path, limits=None, quantizer=QUANTIZER) -> PTQContext:
    torch.manual_seed(0)
    batches = [torch.randn(1, 3, 8, 8) for _ in range(4)]
    ctx = PTQContext(Net().eval(), batches, tmp_path, seed=0, limits=limits)
    prepare_model(ctx, quantizer if limits is None else limits.constrain(quantizer))
    return ctx


def bits_of(ctx: PTQContext) -> dict[str, int]:
    return {plan.name: plan.weight.bits for plan in ctx.plan.layers}


def mean_bits(ctx: PTQContext) -> float:
    bits = bits_of(ctx)
    return sum(bits[name] * count for name, count in COUNTS.items()) / sum(COUNTS.values())


def test_the_mean_is_kept_and_the_most_is_made_of_it(tmp_path):
    ctx = context(tmp_path)
    BitAllocation(average_bits=4.2, num_samples=2).run(ctx)
    assert 4.2 - 0.5 < mean_bits(ctx) <= 4.2
    assert len(set(bits_of(ctx).values())) > 1
    for plan in ctx.plan.layers:
        assert plan.reason == f'average bits 4.2: {plan.weight.bits} bits'
        assert plan.weight.symmetric == (plan.weight.bits == 8)
        assert plan.act.bits == 8
        assert ctx.model.get_submodule(plan.name).weight_quantizer.scheme == plan.weight
    Calibrator().run(ctx)
    finish_model(ctx)


@pytest.mark.parametrize('method', ['gradients', 'forwards'])
def test_another_budget_needs_no_forward(tmp_path, method):
    options = dict(num_samples=2, method=method)
    BitAllocation(average_bits=4, **options).run(context(tmp_path))
    first = json.loads((tmp_path / 'layer_scores.json').read_text())
    keys = [f'weight uint{bits} asym per-channel' for bits in (2, 3, 4, 5, 6)]
    for losses in first['losses'].values():
        assert list(losses) == [*keys, 'weight int8 sym narrow per-channel']
        values = list(losses.values())
        assert values[0] > values[2] > values[4] > values[5] > 0
    if method == 'forwards':
        assert all(2 <= len(names) <= 5 for names in first['estimated'].values())
        assert not any(keys[2] in names for names in first['estimated'].values())

    for folder, scores in ((tmp_path, None), (tmp_path / 'b', tmp_path / 'layer_scores.json')):
        ctx = context(folder)
        ctx.model.calls = 0
        BitAllocation(average_bits=6, scores=scores and str(scores), **options).run(ctx)
        assert ctx.model.calls == 1  # that counts multiplications
        assert mean_bits(ctx) > 5
    assert json.loads((tmp_path / 'layer_scores.json').read_text()) == first


def test_gradients_find_what_forwards_measure(tmp_path):
    found = {}
    for method in ('gradients', 'forwards'):
        ctx = context(tmp_path / method)
        stage = BitAllocation(
            average_bits=6, act_bits=[4, 6, 8], weight_bits=[4, 8], num_samples=4, method=method
        )
        stage.run(ctx)
        found[method] = json.loads((tmp_path / method / 'layer_scores.json').read_text())['losses']
    for name, losses in found['forwards'].items():
        assert losses.keys() == found['gradients'][name].keys() and len(losses) == 5
        for key, loss in losses.items():
            assert 0.4 < found['gradients'][name][key] / loss < 2.5, (name, key)


def test_scores_of_another_model(tmp_path):
    ctx = context(tmp_path)
    BitAllocation(average_bits=4, num_samples=2).run(ctx)
    other = context(tmp_path / 'b')
    with torch.no_grad():
        other.model.stem.weight.mul_(2)
    stage = BitAllocation(average_bits=4, num_samples=2, scores=str(tmp_path / 'layer_scores.json'))
    with pytest.raises(QuantizationError, match='measured with other float weights'):
        stage.run(other)
    with pytest.raises(QuantizationError, match='measured with other calibration samples'):
        again = BitAllocation(average_bits=4, num_samples=3, scores=stage.scores)
        again.run(context(tmp_path / 'c'))


def test_weights_and_quantizers_are_as_before(tmp_path):
    ctx = context(tmp_path)
    before = {name: x.clone() for name, x in ctx.model.named_parameters()}
    BitAllocation(average_bits=4, act_bits=[4, 8], num_samples=2).run(ctx)
    assert all(torch.equal(before[name], x) for name, x in ctx.model.named_parameters())
    slots = [state.module.input_quantizer for state in ctx.layers.values()]
    assert all(slot.enabled for slot in slots)


def test_the_size_is_that_of_the_packed_weights(tmp_path):
    whole = model_size(context(tmp_path).model)[0]
    ctx = context(tmp_path)
    BitAllocation(size='25%', num_samples=2).run(ctx)
    Calibrator().run(ctx)
    finish_model(ctx)
    size = model_size(ctx.model)[1]
    assert 0.22 * whole < size <= 0.25 * whole
    mmptq.quantize(
        Net().eval(),
        [torch.randn(1, 3, 8, 8)],
        recipe=[dict(type='BitAllocation', size='2.2KB', num_samples=1), dict(type='Calibrator')],
        work_dir=tmp_path / 'q',
    )
    state = torch.load(tmp_path / 'q/quantized.pth', weights_only=True)['state_dict']
    stored = sum(x.nbytes for x in state.values())
    assert 0.95 * 2.2 * 1024 < stored <= 2.2 * 1024


@pytest.mark.parametrize('recipe', ['auto', [Calibrator()]])
def test_without_a_config(tmp_path, recipe):
    batches = [torch.randn(1, 3, 8, 8) for _ in range(2)]
    mmptq.quantize(Net().eval(), batches, recipe=recipe, work_dir=tmp_path, average_bits=4)
    plan = plan_of(torch.load(tmp_path / 'quantized.pth', weights_only=True))
    bits = {layer.name: layer.weight.bits for layer in plan.layers}
    assert sum(bits[name] * count for name, count in COUNTS.items()) <= 4 * sum(COUNTS.values())


def test_bit_operations_and_shared_inputs(tmp_path):
    ctx = context(tmp_path)
    problem = BitProblem(ctx, [4, 8], [4, 8], set())
    assert [group.layers for group in problem.groups] == [['stem'], ['left', 'right'], ['last']]
    macs = {name: cost.macs for name, cost in problem.costs.items()}
    assert macs == dict(stem=36 * 216, left=36 * 128, right=36 * 1152, last=2 * 36 * 640)
    stage = BitAllocation(bit_ops='40%', weight_bits=[4, 8], act_bits=[4, 8], num_samples=2)
    stage.run(ctx)
    plans = {plan.name: plan for plan in ctx.plan.layers}
    assert plans['left'].act == plans['right'].act
    used = sum(plans[name].weight.bits * plans[name].act.bits * macs[name] for name in macs)
    assert used <= 0.4 * 64 * sum(macs.values())


def test_fixed_and_float_layers_stay(tmp_path):
    rules = [dict(name='left', weight=None, act=None), dict(name='stem', weight=dict(bits=16))]
    ctx = context(tmp_path, quantizer=dict(QUANTIZER, rules=rules))
    BitAllocation(average_bits=6, fixed=['stem'], num_samples=2).run(ctx)
    plans = {plan.name: plan for plan in ctx.plan.layers}
    assert plans['left'].weight is None and plans['stem'].weight.bits == 16
    rest = 216 * 16 + sum(plans[name].weight.bits * COUNTS[name] for name in ('right', 'last'))
    assert rest <= 6 * (216 + 1152 + 640)


def test_a_generous_budget_gives_everything_the_most(tmp_path):
    ctx = context(tmp_path)
    BitAllocation(average_bits=12, num_samples=2).run(ctx)
    assert set(bits_of(ctx).values()) == {8}


def test_a_backend(tmp_path):
    limits = SchemeLimits('npu', weight=dict(symmetric=True, signed=True, narrow=True))
    w4 = dict(weight=dict(bits=4, per_channel=True), act=dict(bits=8, signed=False))
    ctx = context(tmp_path, limits, w4)
    BitAllocation(average_bits=5, num_samples=2).run(ctx)
    ctx.limits.check_plan(ctx.plan.layers)
    with pytest.raises(QuantizationError, match=r'npu runs none of act_bits=\[4\]'):
        BitAllocation(average_bits=5, act_bits=[4]).run(ctx)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(), 'there is no budget: give average_bits'),
        (dict(average_bits='5x'), "average_bits='5x' cannot be used: write 5"),
        (dict(average_bits=0), 'average_bits=0 cannot be used'),
        (dict(size='4 apples'), "size='4 apples' cannot be used: write 4MB"),
        (dict(bit_ops='-3%'), "bit_ops='-3%' cannot be used"),
        (dict(average_bits=5, num_samples=0), 'num_samples=0 must be at least 1'),
    ],
)
def test_budgets_that_cannot_be_read(options, message):
    with pytest.raises(QuantizationError, match=message):
        BitAllocation(**options)


def test_budgets_that_cannot_be_kept(tmp_path):
    ctx = context(tmp_path)
    with pytest.raises(QuantizationError, match='average bits 1.5 is below the smallest .*, 2'):
        BitAllocation(average_bits=1.5).check(ctx)
    ctx.model.calls = 0
    with pytest.raises(QuantizationError, match='size 300B is below the smallest .*, 1.*KB'):
        BitAllocation(size='300B', num_samples=2).run(ctx)
    assert ctx.model.calls == 1
    smallest = 'bit operations 10% is below the smallest possible, 25.00%'
    with pytest.raises(QuantizationError, match=smallest):
        BitAllocation(bit_ops='10%').run(ctx)
    stage = BitAllocation(average_bits=3, scores=str(tmp_path / 'no.json'))
    with pytest.raises(FileNotFoundError, match='scores'):
        stage.check(ctx)


def test_losses_between_measured_ones():
    errors = dict(a=1.0, b=0.25, c=1 / 16, d=1 / 64)
    found = between(errors, dict(a=2.0, c=0.02))
    assert found['a'] == 2.0 and found['c'] == 0.02
    assert found['b'] == pytest.approx(0.2)  # halfway between in the logarithm
    assert found['d'] == pytest.approx(0.005)  # beyond: proportional

"""Learned rounding: values by hand, the float start, the gradient, hard results on the grid."""

import math

import pytest
import torch
from torch import nn

from mmptq.ptq import AdaRound
from mmptq.quantization import (
    FakeQuantizer,
    HardRounding,
    QScheme,
    SoftRounding,
    fake_quantize,
)

SCHEME = QScheme(4)
SCALE = torch.tensor([0.5])
ZERO = torch.tensor([8], dtype=torch.int32)


def soft(values, scheme=SCHEME, scale=SCALE, zero_point=ZERO, device='cpu'):
    weight = torch.tensor(values, device=device)
    return SoftRounding(weight, scale.to(device), zero_point.to(device), scheme)


def test_alpha_by_hand():
    rounding = soft([0.625])  # 1.25 steps: a fraction of 0.25
    expected = -math.log(1.2 / 0.35 - 1)
    assert rounding.alpha.item() == pytest.approx(expected)
    assert rounding.fraction().item() == pytest.approx(0.25)
    with torch.no_grad():
        rounding.alpha.copy_(torch.tensor([0.0]))  # a sigmoid of 1/2: h = 0.5
        rounding.prepare()
    assert rounding.soft.item() == pytest.approx(0.75)
    with torch.no_grad():
        rounding.alpha.copy_(torch.tensor([5.0]))  # beyond the stretched sigmoid's end: h = 1
        rounding.prepare()
    assert rounding.soft.item() == pytest.approx(1.0)


def test_starts_at_the_float_weight_inside_the_range(device):
    weight = torch.linspace(-6, 6, 97, device=device)
    rounding = soft(weight.tolist(), device=device)
    torch.testing.assert_close(rounding.soft.detach(), weight.clamp(-4, 3.5))


@pytest.mark.parametrize('axis', [0, 1])
def test_per_channel_start(axis):
    torch.manual_seed(0)
    weight = torch.randn(4, 4, 3, 3)
    scheme = QScheme(4, channel_axis=axis)
    zero_point = torch.full((4,), 8, dtype=torch.int32)
    rounding = SoftRounding(weight, torch.rand(4) + 0.6, zero_point, scheme)
    torch.testing.assert_close(rounding.soft.detach(), weight)


def test_hard_rounding_by_hand(device):
    weight = torch.tensor([0.1, 0.4, -0.3, 9.0, -9.0], device=device)
    up = torch.tensor([True, False, True, True, False], device=device)
    result = HardRounding(up)(weight, SCALE.to(device), ZERO.to(device), SCHEME)
    assert result.tolist() == [0.5, 0.0, 0.0, 3.5, -4.0]


def test_nearest_start_hardens_to_the_nearest():
    torch.manual_seed(0)
    weight = torch.randn(50)
    hard = soft(weight.tolist()).harden()
    nearest = fake_quantize(weight, SCALE, ZERO, SCHEME)
    assert torch.equal(hard(weight, SCALE, ZERO, SCHEME), nearest)


def test_earlier_decisions_are_the_start_of_a_second_pass():
    torch.manual_seed(0)
    weight, up = torch.randn(50), torch.rand(50) > 0.5
    second = SoftRounding(weight, SCALE, ZERO, SCHEME, up)
    assert torch.equal(second.harden().round_up, up)
    float_start = soft(weight.tolist()).fraction()
    torch.testing.assert_close(second.fraction(), (float_start + up) / 2)


@pytest.mark.parametrize(('penalty', 'temperature'), [(0.0, 1.0), (0.7, 20.0), (0.7, 2.0)])
def test_gradient_is_that_of_the_formula(penalty, temperature, device):
    torch.manual_seed(0)
    weight, target, noise = torch.randn(3, 40, device=device)
    weight = weight * 3
    rounding = soft(weight.tolist(), device=device)
    with torch.no_grad():
        rounding.alpha.add_(noise)
        rounding.prepare()
    (rounding(weight) - target).square().sum().backward()
    rounding.carry_gradient(penalty, temperature)

    alpha = rounding.alpha.detach().clone().requires_grad_()
    h = (alpha.sigmoid() * 1.2 - 0.1).clamp(0, 1)
    w = ((weight / 0.5).floor() + h + 8).clamp(0, 15)
    loss = ((w - 8) * 0.5 - target).square().sum()
    loss = loss + penalty * (1 - (2 * h - 1).abs().pow(temperature)).sum()
    loss.backward()
    torch.testing.assert_close(rounding.alpha.grad, alpha.grad)


def test_temperature_by_hand():
    schedule = AdaRound(warmup=0.2, start=20, end=2)
    assert schedule.temperature(0.1) is None
    assert schedule.temperature(0.2) == 20
    assert schedule.temperature(0.6) == pytest.approx(11)
    assert schedule.temperature(1.0) == pytest.approx(2)


def test_scale_gradient_is_that_of_lsq():
    scale = torch.tensor([0.5], requires_grad=True)
    x = torch.tensor([0.6, -0.2, 7.0, -7.0])
    fake_quantize(x, scale, ZERO, SCHEME).backward(torch.tensor([1.0, 10.0, 100.0, 1000.0]))
    # 1 - 1.2, 0 + 0.4, then the ends of the range: 15 - 8 and 0 - 8
    assert scale.grad.item() == pytest.approx(-0.2 + 4 + 700 - 8000)


def test_scale_gradient_per_channel():
    scheme = QScheme(4, channel_axis=1)
    scale = torch.tensor([0.5, 0.25], requires_grad=True)
    x = torch.tensor([[0.6, 0.3]])
    zero_point = torch.full((2,), 8, dtype=torch.int32)
    fake_quantize(x, scale, zero_point, scheme).sum().backward()
    torch.testing.assert_close(scale.grad, torch.tensor([-0.2, -0.2]))


def quantizer(device='cpu') -> FakeQuantizer:
    result = FakeQuantizer(SCHEME).to(device)
    result.set_qparams(SCALE.to(device), ZERO.to(device))
    return result


def test_dropping_nothing_and_everything(device):
    x = torch.randn(1000, device=device)
    q = quantizer(device)
    expected = q(x)
    q.drop_prob = 1.0
    assert torch.equal(q(x), x)
    q.drop_prob = 0.25
    torch.manual_seed(0)
    y = q(x)
    assert (y == x).float().mean().item() == pytest.approx(0.25, abs=0.05)
    assert ((y == x) | (y == expected)).all()


def test_dropped_values_give_no_gradient_to_the_scale(device):
    q = quantizer(device)
    q.log_scale_delta = nn.Parameter(torch.zeros(1, device=device))
    q.drop_prob = 1.0
    x = torch.tensor([9.0, 0.3], device=device, requires_grad=True)
    q(x).sum().backward()
    assert q.log_scale_delta.grad.item() == 0
    assert x.grad.tolist() == [1, 1]  # also where the range would clip


def test_learned_scale_is_relative():
    q = quantizer()
    q.log_scale_delta = nn.Parameter(torch.tensor([math.log(2.0)]))
    assert q.learned_scale().item() == pytest.approx(1.0)
    assert q(torch.tensor([0.6])).item() == pytest.approx(1.0)


def test_slots_are_no_part_of_a_checkpoint():
    q = quantizer()
    names = set(q.state_dict())
    q.rounding = soft([0.1]).harden()
    assert set(q.state_dict()) == names == {'scale', 'zero_point'}


def test_new_scales_end_a_rounding_made_for_others():
    q = quantizer()
    q.rounding = soft([0.1]).harden()
    q.set_qparams(SCALE * 2, ZERO)
    assert q.rounding is None

"""Pure functions and modules on torch's fake GPU, whose operators refuse mixed devices.

Fake tensors have no values, and autograd, slices and ``~`` fail on them where there is no GPU. What
needs one of these is tried on the pretended GPU of ``simulated_cuda`` in the other files of this
folder.
"""

from collections.abc import Callable

import pytest
import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mmptq.adapters import HeadOutput
from mmptq.losses import LpLoss
from mmptq.losses.detection_output_loss import divergence
from mmptq.observers.observer import value_range
from mmptq.observers.tensor_search import row_errors
from mmptq.ptq.replay.call_trace import disturbed
from mmptq.ptq.teacher.gradients import _with_gradient
from mmptq.quantization import FakeQuantizer, HardRounding, QScheme, SoftRounding, functional
from mmptq.utils.trees import clone_tensors, copy_tensors, tensors_in

ASYMMETRIC = QScheme(4, channel_axis=0)
SYMMETRIC = QScheme(8, symmetric=True, signed=True, narrow=True, channel_axis=0)


def make(*shape: int) -> Tensor:
    return torch.empty(shape, device='cuda')


def qparams(scheme: QScheme) -> tuple[Tensor, Tensor]:
    return functional.choose_qparams(make(4), make(4), scheme)


def learned_weight(rounding: type) -> list[Tensor]:
    weight = make(4, 3, 3, 3)
    scale, zero_point = qparams(SYMMETRIC)
    if rounding is HardRounding:
        module = HardRounding(weight > 0)
        return [module(weight, scale, zero_point, SYMMETRIC)]
    module = SoftRounding(weight, scale, zero_point, SYMMETRIC, weight > 0)
    module.soft.grad = torch.zeros_like(module(weight))
    module.carry_gradient(0.1, 2.0)
    torch.optim.Adam(module.parameters()).step()
    return [module.alpha, module.alpha.grad, module.harden().round_up]


def learned_scale() -> list[Tensor]:
    with torch.device('cuda'):
        quantizer = FakeQuantizer(QScheme(4))
    quantizer.log_scale_delta = nn.Parameter(torch.zeros_like(quantizer.scale))
    x = make(2, 3, 4, 4)
    return [quantizer(x), quantizer.learned_scale(), quantizer(x.half())]


def head_output() -> list[Tensor]:
    output = HeadOutput('head', make(2, 5, 3), dict(bbox=make(2, 5, 4)), make(2, 5, 4))
    softmax = HeadOutput('head', make(2, 5, 3), {}, softmax=True)
    return [
        divergence(output, output),
        divergence(softmax, softmax),
    ]


CASES: dict[str, Callable] = {
    'choose_qparams': lambda: [*qparams(ASYMMETRIC), *qparams(SYMMETRIC)],
    'quantize': lambda: functional.quantize(make(4, 3), *qparams(ASYMMETRIC), ASYMMETRIC),
    'dequantize': lambda: functional.dequantize(make(4, 3).int(), *qparams(ASYMMETRIC), ASYMMETRIC),
    'grid_position': lambda: functional.grid_position(make(4, 3), make(4), SYMMETRIC),
    'fake_quantize': lambda: functional.fake_quantize(make(4, 3), *qparams(SYMMETRIC), SYMMETRIC),
    'lp_error': lambda: functional.lp_error(make(4, 3), make(4, 3), 2.4, 0),
    'SoftRounding': lambda: learned_weight(SoftRounding),
    'HardRounding': lambda: learned_weight(HardRounding),
    'FakeQuantizer': learned_scale,
    'value_range': lambda: value_range(make(4, 5)),
    'row_errors': lambda: row_errors(
        make(4, 5), make(3, 4), make(3, 4), ASYMMETRIC, 2.4, make(4, 5)
    ),
    'LpLoss': lambda: LpLoss(2.4)(make(2, 3, 4, 4), make(2, 3, 4, 4), make(2, 1, 4, 4)),
    'HeadOutput': head_output,
    'disturb': lambda: disturbed([make(2, 3)], 0.01),
    'with_gradient': lambda: _with_gradient(make(2, 3), []),
    'copies': lambda: [copy_tensors([make(2)]), clone_tensors([make(2)])],
    'lp_losses': lambda: [
        MODELS.build(dict(type='LpLoss', p=p))(make(6, 3), make(6, 3)) for p in (1.0, 2.0)
    ],
}


@pytest.mark.parametrize('name', CASES)
def test_on_the_gpu_alone(name):
    with FakeTensorMode(), torch.inference_mode():
        found = list(tensors_in(CASES[name]()))
        assert found
        assert {x.device.type for x in found} == {'cuda'}


def test_the_fake_gpu_refuses_mixed_devices():
    with FakeTensorMode(), pytest.raises(RuntimeError):
        functional.lp_error(make(3), torch.zeros(3), 2.0)
    with FakeTensorMode(), pytest.raises(RuntimeError):
        torch.stack([torch.zeros(1), make(1)])


def test_a_fake_gpu_has_no_values():
    """The reason for the pretended GPU."""
    with FakeTensorMode(), pytest.raises(Exception, match='_local_scalar_dense'):
        make(3).sum().item()

"""A detector whose depthwise inputs have channels with ranges of 1 to 1000."""

import torch
from mmengine.logging import MMLogger
from torch import Tensor, nn
from torch.nn import functional as F

from mmptq.ptq import Calibrator, ChannelMultiplier, PTQContext
from mmptq.ptq.run import finish_model, prepare_model

INT8 = dict(
    weight=dict(bits=8, symmetric=True, signed=True, narrow=True, per_channel=True),
    act=dict(bits=8, signed=False),
    rules=[],
)
OBSERVER = dict(type='LpObserver', p=2.0)
CHANNELS = 16


class UnevenBackbone(nn.Module):
    """A convolution, an activation, a depthwise convolution that undoes the uneven gains."""

    def __init__(self, activation=F.silu):
        super().__init__()
        self.activation = activation
        self.stem = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.depthwise = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS)
        self.pointwise = nn.Conv2d(CHANNELS, 8, 1)
        gains = torch.logspace(-1, 2, CHANNELS)
        with torch.no_grad():
            self.stem.weight.mul_(gains.view(-1, 1, 1, 1))
            self.stem.bias.mul_(gains)
            self.depthwise.weight.div_(gains.view(-1, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise(self.activation(self.stem(x)))
        return F.relu(self.pointwise(F.relu(x)))


class UnevenHead(nn.Module):
    """One layer."""

    def __init__(self):
        super().__init__()
        self.scores = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.scores(x)]


class UnevenDetector(nn.Module):
    """Backbone and head under the names of mmdet."""

    def __init__(self, activation=F.silu):
        super().__init__()
        torch.manual_seed(0)
        self.backbone, self.bbox_head = UnevenBackbone(activation), UnevenHead()

    def data_preprocessor(self, batch, training):
        return batch

    def forward(self, inputs, mode='predict', data_samples=None):
        return self.bbox_head(self.backbone(inputs))


def uneven_inputs(count: int = 4) -> list[Tensor]:
    """Seeded inputs."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(1, 3, 16, 24, generator=generator) for _ in range(count)]


def context(work_dir, model: nn.Module, batches=None, quantizer=INT8) -> PTQContext:
    """Planned and converted, nothing calibrated."""
    MMLogger.get_instance('test_uneven')
    batches = uneven_inputs() if batches is None else batches
    ctx = PTQContext(model.eval(), [dict(inputs=x) for x in batches], work_dir, seed=0)
    prepare_model(ctx, quantizer)
    return ctx


def quantized(work_dir, *stages, activation=F.silu, quantizer=INT8) -> PTQContext:
    """The detector after these stages and calibration, frozen."""
    ctx = context(work_dir, UnevenDetector(activation), quantizer=quantizer)
    for stage in (*stages, Calibrator(OBSERVER, OBSERVER)):
        stage.run(ctx)
    finish_model(ctx)
    return ctx


def quantized_with_multiplier(work_dir, activation=F.silu) -> PTQContext:
    """``quantized`` with channel multipliers."""
    return quantized(work_dir, ChannelMultiplier(), activation=activation)


@torch.no_grad()
def decibel(values: list[Tensor], references: list[Tensor]) -> float:
    """Signal-to-noise over all of them."""
    signal = sum(x.double().square().sum() for x in references)
    noise = sum((x - y).double().square().sum() for x, y in zip(values, references, strict=True))
    return (10 * torch.log10(signal / noise.clamp(min=1e-30))).item()

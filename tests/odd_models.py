"""Small networks for tests of what a run checks itself, and what such a run says of them."""

import tempfile
from pathlib import Path

import torch
from helpers import QUANTIZER
from mmengine.logging import MMLogger
from torch import nn

from mmptq.ptq import PTQContext
from mmptq.ptq.run import prepare_model
from mmptq.quantization.coverage import coverage_rows


class ConvBN(nn.Module):
    """A convolution with BatchNorm between two others; subclasses change one thing."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.conv, self.bn = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.head = nn.Conv2d(8, 4, 1)
        self.change()

    def change(self):
        pass

    def middle(self, x):
        return self.bn(self.conv(x))

    def forward(self, x):
        return self.head(self.middle(self.stem(x).relu()).relu())


def random_model(cls) -> nn.Module:
    torch.manual_seed(0)
    model = cls().eval()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            module.running_mean.normal_()
            module.running_var.uniform_(0.3, 3)
            nn.init.uniform_(module.weight, 0.3, 3)
            nn.init.normal_(module.bias)
    return model


def samples(count: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(1, 3, 8, 8, generator=generator) for _ in range(count)]


def context(model, batches=None, quantizer=QUANTIZER) -> PTQContext:
    MMLogger.get_instance('test_invariants')
    folder = Path(tempfile.mkdtemp())
    ctx = PTQContext(model, samples() if batches is None else batches, folder, seed=0)
    prepare_model(ctx, quantizer)
    return ctx


def notes(ctx) -> dict[str, str]:
    return {row['layer']: row['note'] for row in coverage_rows(ctx.plan)}

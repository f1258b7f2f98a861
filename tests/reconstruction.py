"""A small detector with all that makes recording hard, for the tests of reconstruction."""

from pathlib import Path

import torch
from helpers import QUANTIZER
from mmengine.logging import MMLogger
from mmengine.registry import TASK_UTILS
from torch import nn

from mmptq.adapters import Adapter, HeadOutput
from mmptq.ptq import Calibrator, PTQContext
from mmptq.ptq.run import prepare_model

W4A4 = dict(
    QUANTIZER,
    weight=dict(bits=4, symmetric=False, per_channel=True),
    act=dict(bits=4),
)


class BasicBlock(nn.Module):
    """A residual block whose ReLUs work in place."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(self.conv2(self.relu(self.conv1(x))) + x)


class ToyHead(nn.Module):
    """One tower on two levels; scores and regressions from the same features."""

    def __init__(self, channels: int):
        super().__init__()
        self.tower = nn.Conv2d(channels, channels, 3, padding=1)
        self.scores = nn.Conv2d(channels, 3, 1)
        self.boxes = nn.Conv2d(channels, 4, 1)

    def forward(self, levels):
        levels = [self.tower(x).relu_() for x in levels]
        return [self.scores(x) for x in levels], [self.boxes(x) for x in levels]


class ToyDetector(nn.Module):
    """Stem, two residual blocks, two levels, a head; no decoding."""

    def __init__(self, channels: int = 8):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1), nn.ReLU(inplace=True))
        self.blocks = nn.Sequential(BasicBlock(channels), BasicBlock(channels))
        self.bbox_head = ToyHead(channels)

    def data_preprocessor(self, batch, training):
        return batch

    def forward(self, inputs, mode='predict', data_samples=None):
        x = self.blocks(self.stem(inputs))
        return self.bbox_head([x, x[..., ::2, ::2]])


@TASK_UTILS.register_module()
class ToyAdapter(Adapter):
    """Reads the toy head."""

    head_types = ('ToyHead',)

    def outputs(self, raw):
        def flat(levels):
            return torch.cat([x.flatten(2).transpose(1, 2) for x in levels], 1)

        return [HeadOutput('bbox_head', flat(raw[0]), dict(bbox=flat(raw[1])))]

    def pseudo_labels(self, raw, data, score_thr, top_k):
        raise NotImplementedError

    def loss(self, raw, data, pseudo_labels):
        raise NotImplementedError


def images(number: int = 6, size: int = 12, seed: int = 0) -> list[torch.Tensor]:
    """Smooth random images (1, 3, size, size)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(number, 3, size // 2, size // 2, generator=generator)
    full = nn.functional.interpolate(coarse, size=(size, size), mode='bilinear')
    return list((full + 0.1 * torch.randn(full.shape, generator=generator)).split(1))


def toy_context(
    work_dir: Path, model: nn.Module | None = None, batches=None, device='cpu'
) -> PTQContext:
    """A calibrated W4A4 context on a device."""
    MMLogger.get_instance('test_reconstruction')
    torch.manual_seed(1)
    model = (ToyDetector() if model is None else model).eval().to(device)
    batches = images() if batches is None else batches
    ctx = PTQContext(model, [dict(inputs=x.to(device)) for x in batches], work_dir, seed=0)
    prepare_model(ctx, W4A4)
    observer = dict(type='LpObserver', p=2.0)
    Calibrator(observer, observer).run(ctx)
    return ctx

"""A tiny detector with what makes export hard: residual, pyramid, concatenation, transposition."""

from pathlib import Path

import onnx
import torch
import torch.nn.functional as F
from helpers import load_tool
from torch import Tensor, nn

from mmptq.deploy import ExportedSubgraph, build_model
from mmptq.deploy.export_profile import ExportProfile
from mmptq.deploy.metadata import add_metadata
from mmptq.utils.cli import base_config


class Backbone(nn.Module):
    """Stem, pooling and a residual block with a projection."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.pool = nn.MaxPool2d(2)
        self.conv1 = nn.Conv2d(16, 32, 3, 2, 1)
        self.conv2 = nn.Conv2d(32, 32, 3, 1, 1)
        self.project = nn.Conv2d(16, 32, 1, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        low = self.pool(F.relu(self.stem(x)))
        high = self.conv2(F.relu(self.conv1(low))) + self.project(low)
        return low, F.relu(high)


class Neck(nn.Module):
    """Two ways up, joined with the lower level."""

    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose2d(32, 16, 2, 2)
        self.lateral = nn.Conv2d(32, 16, 1)

    def forward(self, feats: tuple[Tensor, Tensor]) -> Tensor:
        low, high = feats
        upsampled = F.interpolate(self.lateral(high), scale_factor=2.0)
        return torch.cat([low + upsampled, F.relu(self.up(high))], 1)


class Head(nn.Module):
    """Many scores and few offsets, nested as mmdet's heads return them."""

    def __init__(self):
        super().__init__()
        self.shared = nn.Conv2d(32, 32, 3, 1, 1)
        self.scores = nn.Conv2d(32, 80, 1)
        self.offsets = nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
        x = F.relu(self.shared(x))
        return [self.scores(x)], dict(offsets=self.offsets(x))


class TinyDetector(nn.Module):
    """Backbone, neck and head under the names of mmdet; its forward is the decoding."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.backbone, self.neck, self.bbox_head = Backbone(), Neck(), Head()

    def forward(self, x: Tensor) -> Tensor:
        (scores,), regressions = self.bbox_head(self.neck(self.backbone(x)))
        return scores.sigmoid().amax(1) + regressions['offsets'].sum(1)


def profile_of(name: str) -> ExportProfile:
    """A profile of configs/_base_/backends."""
    return ExportProfile.from_config(base_config('backend', name).backend)


def sample_inputs(count: int = 2, size: tuple[int, int] = (32, 48)) -> list[Tensor]:
    """Seeded inputs."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(1, 3, *size, generator=generator) for _ in range(count)]


@torch.no_grad()
def quantized_detector(
    backend: str | ExportProfile,
    detector: nn.Module | None = None,
    sample: Tensor | None = None,
) -> nn.Module:
    """A detector quantized for a backend by min-max ranges, frozen, in eval mode."""
    detector = (detector or TinyDetector()).eval()
    sample = torch.cat(sample_inputs()) if sample is None else sample
    profile = profile_of(backend) if isinstance(backend, str) else backend
    load_tool('benchmark').quantize_by_minmax(ExportedSubgraph(detector), profile, sample)
    return detector


def exported(backend: str, path: Path, dynamic: bool = False) -> tuple[nn.Module, onnx.ModelProto]:
    """A quantized tiny detector and its file."""
    detector = quantized_detector(backend)
    model, _ = build_model(detector, profile_of(backend), sample_inputs(), dynamic)
    add_metadata(model, dict(engine=backend))
    onnx.save(model, path)
    return detector, model

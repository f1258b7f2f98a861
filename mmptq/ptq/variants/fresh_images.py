"""New images for every learning step, made of a few calibration images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample

from mmptq.ptq import parallel
from mmptq.utils.errors import QuantizationError
from mmptq.utils.seeds import stream_seed

# Streams below it choose the samples of a step.
FIRST_STREAM = 500_000


@dataclass(frozen=True)
class Variation:
    """How far a new image is from the calibration images that it is made of.

    Each new image draws a strength from 0 to 1, which the largest changes are multiplied with, so
    that many are close to a calibration image and some are far from all of them.

    Attributes:
        mirror (float): Share of mirrored images.
        zoom (float): Largest change of the size, as a factor: 0.4 is 1 / 1.4 to 1.4.
        shift (float): Largest shift, in shares of the image.
        shear (float): Largest horizontal shear and stretch.
        contrast (float): Largest change of the contrast, as a factor.
        brightness (float): Largest change of the brightness, in standard deviations of the image.
        noise (float): Largest noise, in standard deviations of the image.
        blur (float): Share of blurred images.
        mix (float): Share of images with a second one laid over them, at a random ratio.
        paste (float): Share of images whose right part comes from a second one.
    """

    mirror: float = 0.5
    zoom: float = 0.4
    shift: float = 0.2
    shear: float = 0.2
    contrast: float = 0.5
    brightness: float = 0.5
    noise: float = 0.2
    blur: float = 0.2
    mix: float = 0.2
    paste: float = 0.2

    def __post_init__(self):
        shares = ('mirror', 'blur', 'mix', 'paste')
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value <= (1 if field.name in shares else math.inf):
                raise QuantizationError(
                    f'variants: {field.name}={value!r} is not possible: use a share from 0 to 1 '
                    f'for {", ".join(shares)}, and a number from 0 on for the others'
                )

    @classmethod
    def of(cls, settings: dict[str, float]) -> 'Variation':
        """From a config; unknown names are refused."""
        names = [field.name for field in fields(cls)]
        for name in settings:
            if name not in names:
                raise QuantizationError(
                    f"variants has no '{name}': the settings are {', '.join(names)}"
                )
        return cls(**settings)


class FreshImages:
    """Batches of new images, which depend on the seed and on the step alone.

    Nothing is stored: a step makes its images, so that memory does not grow with the steps, and a
    resumed run sees the same. Processes make different ones, from their own calibration images.

    Args:
        samples (Sequence[dict]): Batches with ``inputs`` (B, C, H, W), normalised.
        variation (Variation): How far the new images are from these.
        seed (int): Of the run.
    """

    def __init__(self, samples: Sequence[dict[str, Any]], variation: Variation, seed: int):
        self.samples, self.variation, self.seed = samples, variation, seed

    def batch(self, chosen: Sequence[int], step: int) -> dict[str, Any]:
        """One new batch.

        Args:
            chosen (Sequence[int]): The samples that the new images are made of.
            step (int): Index of the step.

        Returns:
            dict: ``inputs`` and ``data_samples`` of the new images. The data samples hold meta
            information only, because labels do not fit any more.

        Raises:
            QuantizationError: If samples are no images, or have several sizes.
        """
        generator = torch.Generator('cpu')
        generator.manual_seed(parallel.own_seed(stream_seed(self.seed, FIRST_STREAM + step)))
        own = [self.samples[index] for index in chosen]
        others = torch.randint(len(self.samples), (len(own),), generator=generator, device='cpu')
        images = _images(own)
        second = _images([self.samples[index] for index in others.tolist()])
        if images.shape != second.shape:
            raise QuantizationError(_SIZES)
        images, second = (self._moved(x, generator) for x in (images, second))
        result = dict(own[0], inputs=self._lit(self._mixed(images, second, generator), generator))
        if 'data_samples' in result:
            result['data_samples'] = [
                _without_labels(sample) for data in own for sample in data['data_samples']
            ]
        return result

    def _moved(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Mirrored, zoomed, shifted and sheared."""
        v, strength = self.variation, _uniform(images, 1, generator)
        mirror = torch.where(_uniform(images, 1, generator) < v.mirror, -1.0, 1.0)[:, 0]
        zoom, dx, dy, shear, stretch = (strength * (2 * _uniform(images, 5, generator) - 1)).unbind(
            1
        )
        size = (math.log(1 + v.zoom) * zoom).exp()
        matrix = images.new_zeros(len(images), 2, 3)
        matrix[:, 0, 0] = mirror * size * (1 + v.shear * stretch)
        matrix[:, 0, 1], matrix[:, 1, 1] = v.shear * shear, size
        matrix[:, 0, 2], matrix[:, 1, 2] = 2 * v.shift * dx, 2 * v.shift * dy
        grid = affine_grid(matrix, list(images.shape), align_corners=False)
        return grid_sample(images, grid, padding_mode='reflection', align_corners=False)

    def _mixed(self, images: Tensor, second: Tensor, generator: torch.Generator) -> Tensor:
        """Some with a second image laid over them, others with one in their right part."""
        kind, ratio = (x[:, None, None, None] for x in _uniform(images, 2, generator).unbind(1))
        columns = torch.arange(images.shape[-1], device=images.device) / images.shape[-1]
        share = torch.where(kind < self.variation.mix, ratio, 1.0)
        pasted = (kind > 1 - self.variation.paste) & (columns > 0.25 + 0.5 * ratio)
        return torch.where(pasted, second, share * images + (1 - share) * second)

    def _lit(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Blurred, in other light, and with noise."""
        v, strength = self.variation, _uniform(images, 1, generator)
        numbers = _uniform(images, 4, generator)
        contrast, brightness = (strength * (2 * numbers[:, :2] - 1))[..., None, None].split(1, 1)
        blurred = (numbers[:, 2] < v.blur)[:, None, None, None]
        soft = avg_pool2d(images, 3, 1, 1, count_include_pad=False)
        images = torch.where(blurred, soft, images)
        std, mean = torch.std_mean(images, (1, 2, 3), keepdim=True)
        gain = (math.log(1 + v.contrast) * contrast).exp()
        noise = torch.randn(images.shape, generator=generator, device='cpu').to(images)
        noise = v.noise * (strength * numbers[:, 3:])[..., None, None] * noise
        return (images - mean) * gain + mean + std * (v.brightness * brightness + noise)


_SIZES = 'variants of calibration images need images of one size: leave variants out'


def _images(samples: list[dict[str, Any]]) -> Tensor:
    """The images of some samples in one batch."""
    images = [data['inputs'] for data in samples]
    if not all(isinstance(x, Tensor) and x.dim() == 4 and x.is_floating_point() for x in images):
        raise QuantizationError(
            'variants of calibration samples are made of images alone, and this model takes other '
            'inputs: leave variants out'
        )
    if len({x.shape[1:] for x in images}) > 1:
        raise QuantizationError(_SIZES)
    return torch.cat(images)


def _uniform(images: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """(B, count) numbers from 0 to 1, on the device of the images."""
    return torch.rand(len(images), count, generator=generator, device='cpu').to(images)


def _without_labels(sample: Any) -> Any:
    if not isinstance(sample, BaseDataElement):
        return sample
    return type(sample)(metainfo=sample.metainfo)

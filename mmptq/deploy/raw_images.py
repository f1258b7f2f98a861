"""Mean, deviation and channel order of images inside of a file, so that it takes raw images."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from mmptq.deploy.graph.graph import Graph
from mmptq.quantization import QuantizationError
from mmptq.utils.detector_parts import MIDDLE_ENCODERS, VOXEL_ENCODERS
from mmptq.utils.messages import first_line

TYPES = {'uint8': torch.uint8, 'float32': torch.float32}
ONNX_TYPES = {'uint8': onnx.TensorProto.UINT8, 'float32': onnx.TensorProto.FLOAT}
METADATA_KEY = 'raw_images'
PREFIX = 'normalization'
TEST_SIZE = 64


@dataclass(frozen=True)
class RawImages:
    """Images (B, 3, H, W) with values from 0 to 255, before OpenMMLab's data preprocessor.

    Args:
        mean (list[float]): Of the channels in the order of the network; one value for all.
        std (list[float]): The deviation, as ``mean``.
        reverse (bool): Whether the network takes the channels in the reverse order.
        pad_value (float): What the preprocessor pads with, after the normalisation.
        dtype (str): ``'uint8'`` or ``'float32'``.
    """

    mean: list[float]
    std: list[float]
    reverse: bool
    pad_value: float
    dtype: str = 'uint8'

    @classmethod
    def of(cls, detector: nn.Module, dtype: str = 'uint8') -> 'RawImages':
        """What the data preprocessor of a detector does to an image.

        Raises:
            QuantizationError: If the detector takes no images, or its preprocessor does something
                else, too.
        """
        if any(getattr(detector, name, None) for name in (*VOXEL_ENCODERS, *MIDDLE_ENCODERS)):
            raise QuantizationError(
                f'{type(detector).__name__} takes points, and its file takes a BEV map: leave out '
                '--with-normalization'
            )
        preprocessor = detector.data_preprocessor
        normalizes = getattr(preprocessor, '_enable_normalize', False)
        raw = cls(
            mean=preprocessor.mean.flatten().tolist() if normalizes else [0.0],
            std=preprocessor.std.flatten().tolist() if normalizes else [1.0],
            reverse=bool(getattr(preprocessor, '_channel_conversion', False)),
            pad_value=float(getattr(preprocessor, 'pad_value', 0)),
            dtype=dtype,
        )
        raw.check(preprocessor)
        return raw

    def check(self, preprocessor: nn.Module) -> None:
        """Compare with the preprocessor on an image that needs no padding."""
        step = int(getattr(preprocessor, 'pad_size_divisor', 1))
        size = -(-TEST_SIZE // step) * step
        generator = torch.Generator('cpu').manual_seed(0)
        shape = (3, size, size)
        image = torch.randint(0, 256, shape, generator=generator, device='cpu').to(torch.uint8)
        kind = type(preprocessor).__name__
        try:
            # The one of mmdet3d takes images by name, next to points.
            inputs = {'img': [image]} if 'Det3D' in kind else [image]
            found = preprocessor(dict(inputs=inputs, data_samples=None), False)['inputs']
            found = found['imgs'] if isinstance(found, dict) else found
            equal = torch.equal(found.cpu(), self.normalize(image[None]))
        except Exception as error:
            raise QuantizationError(
                f"the data preprocessor '{kind}' does not take an image ({first_line(error)}): "
                'leave out --with-normalization'
            ) from error
        if not equal:
            raise QuantizationError(
                f"the data preprocessor '{kind}' does more than mean, std and the order of "
                'channels: leave out --with-normalization'
            )

    def normalize(self, raw: Tensor) -> Tensor:
        """What the network takes, of raw images."""
        x = raw.float()
        if self.reverse:
            x = x.flip(1)
        return (x - self._column(self.mean, x)) / self._column(self.std, x)

    def denormalize(self, x: Tensor) -> Tensor:
        """Raw images of what the network takes; the inverse of ``normalize``."""
        raw = x * self._column(self.std, x) + self._column(self.mean, x)
        if self.reverse:
            raw = raw.flip(1)
        whole = raw.round()
        if self.dtype == 'uint8':
            return whole.clamp(0, 255).to(torch.uint8)
        return torch.where((raw - whole).abs() < 1e-3, whole, raw)

    def pad_pixel(self) -> list[float]:
        """The raw value of each channel, in the order of the image, that padding stands for."""
        x = torch.full((1, 3, 1, 1), self.pad_value, device='cpu')
        return self.denormalize(x).flatten().tolist()

    def fill_padding(self, image: Tensor) -> Tensor:
        """Raw images of the right type, of raw images whose padding is NaN."""
        pixel = self._column(self.pad_pixel(), image)
        return torch.where(image.isnan(), pixel, image).to(TYPES[self.dtype])

    @staticmethod
    def _column(values: list[float], x: Tensor) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=x.device).view(1, -1, 1, 1)

    def attach(self, model: onnx.ModelProto) -> None:
        """Put the normalisation before the network of a file, in place."""
        (entry,) = model.graph.input
        graph, name = Graph(model), entry.name
        consumers = graph.consumers(name)
        x = graph.add('Cast', [name], f'{PREFIX}/float', to=ONNX_TYPES['float32'])
        if self.reverse:
            order = graph.store(f'{PREFIX}/order', np.array([2, 1, 0], np.int64))
            x = graph.add('Gather', [x, order], f'{PREFIX}/reversed', axis=1)
        for kind, values in (('Sub', self.mean), ('Div', self.std)):
            array = np.array(values, np.float32).reshape(1, -1, 1, 1)
            stored = graph.store(f'{PREFIX}/{kind}_values', array)
            x = graph.add(kind, [x, stored], f'{PREFIX}/{kind}')
        graph.rewire(name, x, consumers)
        entry.type.tensor_type.elem_type = ONNX_TYPES[self.dtype]
        graph.finish()

    def describe(self) -> dict[str, Any]:
        """Metadata of a file: the settings, and what a user of the file needs to know."""
        return dict(asdict(self), pad_pixel=self.pad_pixel())

    @classmethod
    def from_metadata(cls, metadata: dict[str, Any]) -> 'RawImages | None':
        """Of a file; None where it takes normalised images."""
        entry = dict(metadata.get(METADATA_KEY) or {})
        entry.pop('pad_pixel', None)
        return cls(**entry) if entry else None

    def keep_images_raw(self, preprocessor: nn.Module) -> None:
        """Let a data preprocessor only pad, with NaN, which ``fill_padding`` replaces."""
        preprocessor._enable_normalize = False
        preprocessor._channel_conversion = False
        preprocessor.pad_value = float('nan')

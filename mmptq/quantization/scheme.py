"""The qscheme: which integers a tensor is mapped to, and how many scales it has."""

from dataclasses import asdict, dataclass, fields
from typing import Any

import torch

from mmptq.utils.errors import QuantizationError


@dataclass(frozen=True)
class QScheme:
    """Uniform affine quantization ``x_hat = scale * (x_int - zero_point)``.

    Args:
        bits (int): Width of the integers, 2 to 8, or 16. Defaults to 8.
        symmetric (bool): Whether the range is centred on zero. Defaults to False.
        signed (bool, optional): True for the grid ``-2^(bits-1) .. 2^(bits-1)-1``, False for
            ``0 .. 2^bits-1``. None is the unsigned grid too, and a symmetric range then puts its
            zero point at 0 for non-negative data (no level wasted after a ReLU) and in the middle
            for two-sided data. Defaults to None.
        narrow (bool): Whether one level is left out so that the grid has as many negative as
            positive levels. Defaults to False.
        channel_axis (int, optional): Axis with one scale per index; None is one scale per tensor.
            Defaults to None.

    Raises:
        QuantizationError: If ``bits`` is out of range.
    """

    bits: int = 8
    symmetric: bool = False
    signed: bool | None = None
    narrow: bool = False
    channel_axis: int | None = None

    def __post_init__(self):
        if self.bits not in (2, 3, 4, 5, 6, 7, 8, 16):
            raise QuantizationError(f'bits={self.bits!r} is not supported: use 2 to 8, or 16')

    @property
    def qmin(self) -> int:
        """Smallest integer of the grid."""
        return -(2 ** (self.bits - 1)) + int(self.narrow) if self.signed else 0

    @property
    def qmax(self) -> int:
        """Largest integer of the grid."""
        if self.signed:
            return 2 ** (self.bits - 1) - 1
        return 2**self.bits - 1 - int(self.narrow)

    @property
    def middle(self) -> int:
        """Zero point of a symmetric range of two-sided data."""
        return 0 if self.signed else 2 ** (self.bits - 1) - int(self.narrow)

    def broadcast(self, qparam: torch.Tensor, ndim: int) -> torch.Tensor:
        """Reshape scales or zero points (C,) so that they broadcast over an ``ndim`` tensor."""
        if self.channel_axis is None:
            return qparam
        shape = [1] * ndim
        shape[self.channel_axis] = -1
        return qparam.view(shape)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as stored in a quantized checkpoint."""
        return asdict(self)

    def describe(self) -> str:
        """Short text for the coverage table, for example ``int8 sym narrow per-channel``."""
        words = [f'{"int" if self.signed else "uint"}{self.bits}']
        words.append('sym' if self.symmetric else 'asym')
        if self.narrow:
            words.append('narrow')
        words.append('per-tensor' if self.channel_axis is None else 'per-channel')
        return ' '.join(words)

    @classmethod
    def from_config(cls, cfg: dict[str, Any], channel_axis: int, where: str) -> 'QScheme':
        """Build from a config dict, in which ``per_channel`` stands for the layer's axis.

        Args:
            cfg (dict): Keys bits, symmetric, signed, narrow, per_channel.
            channel_axis (int): Channel axis of the tensor in question.
            where (str): Name of the config entry, for the error message.
        """
        cfg = dict(cfg)
        per_channel = cfg.pop('per_channel', False)
        known = [f.name for f in fields(cls) if f.name != 'channel_axis']
        for key in cfg:
            if key not in known:
                raise QuantizationError(
                    f"{where} has an unknown key '{key}': use {', '.join(known)} or per_channel"
                )
        return cls(channel_axis=channel_axis if per_channel else None, **cfg)

"""Integers of any width from 2 to 8, or of 16 bits, in as few bytes as they need."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def packed_size(count: int, bits: int) -> int:
    """Bytes that ``count`` integers take."""
    return math.ceil(count * bits / 8)


def pack_integers(values: Tensor, bits: int, signed: bool) -> Tensor:
    """Integers as bytes.

    8 bits become int8 or uint8 and 16 bits int16, both of the shape of ``values``. Narrower ones
    become a stream of bits in a flat uint8 tensor: the first value is in the lowest bits of the
    first byte, so that a byte holds two values of 4 bits or four of 2 bits, and three bytes hold
    eight values of 3 bits. Negative values are in two's complement.

    Args:
        values (Tensor): Integers of any shape, within the range of ``bits`` and ``signed``.
        bits (int): 2 to 8, or 16.
        signed (bool): Whether the range is ``-2^(bits-1) .. 2^(bits-1)-1`` or ``0 .. 2^bits-1``.
    """
    values = values.contiguous()
    if bits == 16:
        return values.to(torch.int16)  # the lower 16 bits, whatever the sign
    if bits == 8:
        return values.to(torch.int8 if signed else torch.uint8)
    count = values.numel()
    codes = torch.nn.functional.pad(values.flatten().long(), (0, -count % 8)).view(-1, 8)
    # Eight values take exactly ``bits`` bytes, at most seven, which an int64 holds.
    words = ((codes & (2**bits - 1)) << _shifts(8, bits, codes)).sum(1, keepdim=True)
    stream = (words >> _shifts(bits, 8, codes)) & 255
    return stream.to(torch.uint8).flatten()[: packed_size(count, bits)].clone()


def unpack_integers(packed: Tensor, bits: int, signed: bool, shape: Sequence[int]) -> Tensor:
    """The inverse of ``pack_integers``, as int32 of the given shape.

    Raises:
        ValueError: If ``packed`` does not hold so many values.
    """
    count = math.prod(shape)
    if packed.numel() * packed.element_size() != packed_size(count, bits):
        raise ValueError(
            f'{packed.numel() * packed.element_size()} bytes do not hold {count} values of '
            f'{bits} bits'
        )
    if bits in (8, 16):
        values = packed.int()
        return (values if signed else values & (2**bits - 1)).view(*shape)
    stream = torch.nn.functional.pad(packed.long(), (0, -len(packed) % bits)).view(-1, bits)
    words = (stream << _shifts(bits, 8, stream)).sum(1, keepdim=True)
    codes = (words >> _shifts(8, bits, stream)) & (2**bits - 1)
    if signed:
        codes -= (codes >= 2 ** (bits - 1)) * 2**bits
    return codes.flatten()[:count].view(*shape).int()


def _shifts(count: int, step: int, like: Tensor) -> Tensor:
    return torch.arange(0, count * step, step, device=like.device)

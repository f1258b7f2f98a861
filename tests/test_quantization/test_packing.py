"""Integers in as few bytes as they need."""

import pytest
import torch

from mmptq.quantization.packing import pack_integers, packed_size, unpack_integers

WIDTHS = [2, 3, 4, 5, 6, 7, 8, 16]


def limits(bits: int, signed: bool) -> tuple[int, int]:
    return (-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else (0, 2**bits)


@pytest.mark.parametrize('bits', WIDTHS)
@pytest.mark.parametrize('signed', [True, False])
@pytest.mark.parametrize('shape', [(3, 5, 7), (1,), (16,), (0, 4), (2, 4)])
def test_there_and_back(bits, signed, shape):
    low, high = limits(bits, signed)
    values = torch.randint(low, high, shape, generator=torch.Generator().manual_seed(bits))
    packed = pack_integers(values.int(), bits, signed)
    assert packed.numel() * packed.element_size() == packed_size(values.numel(), bits)
    assert packed_size(values.numel(), bits) == -(-values.numel() * bits // 8)
    again = unpack_integers(packed, bits, signed, shape)
    assert again.dtype == torch.int32 and torch.equal(again, values.int())


@pytest.mark.parametrize('bits', WIDTHS)
@pytest.mark.parametrize('signed', [True, False])
def test_every_value(bits, signed):
    values = torch.arange(*limits(bits, signed), dtype=torch.int32)
    packed = pack_integers(values, bits, signed)
    assert torch.equal(unpack_integers(packed, bits, signed, values.shape), values)


def test_bytes_by_hand():
    assert pack_integers(torch.tensor([1, 2, 15]), 4, False).tolist() == [0x21, 0x0F]
    assert pack_integers(torch.tensor([1, -1, -8]), 4, True).tolist() == [0xF1, 0x08]
    assert pack_integers(torch.tensor([0, 1, 2, 3]), 2, False).tolist() == [0b11100100]
    # 111 001 010, from the lowest bit of the first byte on.
    assert pack_integers(torch.tensor([7, 1, 2]), 3, False).tolist() == [0b10001111, 0]
    assert pack_integers(torch.tensor([-128, 127]), 8, True).dtype == torch.int8
    assert pack_integers(torch.tensor([0, 255]), 8, False).tolist() == [0, 255]


def test_memory_layout_does_not_matter():
    values = torch.arange(12, dtype=torch.int32).view(3, 4)
    packed = pack_integers(values.t(), 4, False)
    assert torch.equal(packed, pack_integers(values.t().contiguous(), 4, False))
    assert torch.equal(unpack_integers(packed, 4, False, (4, 3)), values.t())


def test_too_few_bytes():
    with pytest.raises(ValueError, match='2 bytes do not hold 5 values of 4 bits'):
        unpack_integers(torch.zeros(2, dtype=torch.uint8), 4, False, (5,))

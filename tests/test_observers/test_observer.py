"""What every observer must do with any input."""

import inspect

import pytest
import torch
from mmengine.registry import TASK_UTILS

from mmptq import observers
from mmptq.observers import LpObserver, MinMaxObserver
from mmptq.quantization import QScheme, QuantizationError, fake_quantize

CLASSES = [getattr(observers, name) for name in observers.__all__ if name.endswith('Observer')]
CLASSES = [cls for cls in CLASSES if not inspect.isabstract(cls)]
# What extreme values, constants and zeros have in common: nothing must be cut off or blow up.
SCHEMES = [
    QScheme(),
    QScheme(symmetric=True),
    QScheme(symmetric=True, signed=True, narrow=True),
    QScheme(bits=2),
    QScheme(bits=16),
    QScheme(channel_axis=1),
]

all_classes = pytest.mark.parametrize('cls', CLASSES)
all_schemes = pytest.mark.parametrize('scheme', SCHEMES, ids=QScheme.describe)


def ends(observer) -> tuple[torch.Tensor, torch.Tensor]:
    """Lower and upper end of the grid."""
    scale, zero_point = observer.qparams()
    scheme = observer.scheme
    return (scheme.qmin - zero_point) * scale, (scheme.qmax - zero_point) * scale


def test_every_class_is_tested():
    assert len(CLASSES) == 6


@all_classes
def test_is_built_from_a_config(cls):
    observer = TASK_UTILS.build(dict(type=cls.__name__, scheme=QScheme()))
    assert isinstance(observer, cls)


@all_classes
@all_schemes
def test_shapes_types_and_device(cls, scheme, make_values, device):
    observer = cls(scheme)
    for seed in range(2):
        observer.update(make_values('silu', 600, seed).view(2, 3, 10, 10).to(device))
    scale, zero_point = observer.qparams()
    size = 1 if scheme.channel_axis is None else 3
    assert scale.shape == zero_point.shape == (size,)
    assert scale.dtype == torch.float32 and zero_point.dtype == torch.int32
    assert scale.device.type == zero_point.device.type == device.type
    assert (scale > 0).all()
    assert ((zero_point >= scheme.qmin) & (zero_point <= scheme.qmax)).all()


@all_classes
@all_schemes
@pytest.mark.parametrize('value', [3.0, -3.0, 1e-4, 1e-12, 1e-30, 1e30, 6.0, 8.0])
def test_constant_tensor_keeps_its_value(cls, scheme, value):
    observer = cls(scheme)
    observer.update(torch.full((4, 3, 5), value))
    x = torch.full((1, 3), value)
    # The smallest scale is 1e-10.
    assert torch.allclose(fake_quantize(x, *observer.qparams(), scheme), x, rtol=1e-5, atol=1e-10)


@all_classes
@all_schemes
def test_all_zero_tensor(cls, scheme):
    observer = cls(scheme)
    observer.update(torch.zeros(2, 3, 4))
    scale, _ = observer.qparams()
    assert (scale <= 1e-9).all() and (scale > 0).all()


@all_classes
def test_zeros_before_the_first_values_do_not_matter(cls):
    scheme = QScheme(symmetric=True)
    late, alone = cls(scheme), cls(scheme)
    x = torch.linspace(-1, 2, 500)
    late.update(torch.zeros(1))
    late.update(x)
    alone.update(x)
    if cls.__name__ in ('MovingAverageObserver', 'MeanMinMaxObserver'):
        assert late.qparams()[0] < alone.qparams()[0]
    else:
        assert torch.allclose(late.qparams()[0], alone.qparams()[0], rtol=1e-3)


@all_classes
def test_empty_tensors_are_ignored(cls):
    observer = cls(QScheme())
    observer.update(torch.zeros(0, 16))
    assert not observer.seen
    with pytest.raises(QuantizationError, match='no values were observed'):
        observer.qparams()
    observer.update(torch.ones(3, 16))
    observer.update(torch.zeros(0, 16))
    assert observer.seen
    assert observer.qparams()[0].item() == pytest.approx(1 / 255)


@all_classes
@all_schemes
@pytest.mark.parametrize('bad', [float('nan'), float('inf'), -float('inf')])
def test_values_that_are_not_finite(cls, scheme, bad):
    observer = cls(scheme)
    good = torch.ones(2, 3, 4)
    x = good.clone()
    x[1, 2, 0] = bad
    with pytest.raises(QuantizationError, match=r'shape \(2, 3, 4\) holds NaN or Inf'):
        observer.update(x)
    assert not observer.seen
    observer.update(good)
    assert torch.isfinite(observer.qparams()[0]).all()


@pytest.mark.parametrize('shape', [(5,), (2, 4, 3)])
def test_channels_that_do_not_fit(shape):
    observer = MinMaxObserver(QScheme(channel_axis=1))
    observer.update(torch.ones(2, 3))
    with pytest.raises(QuantizationError, match='does not have 3 channels on axis 1'):
        observer.update(torch.ones(shape))


@all_classes
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_other_types(cls, dtype):
    observer, same = cls(QScheme()), cls(QScheme())
    x = torch.arange(-20, 100).to(dtype)
    observer.update(x)
    same.update(x.float())
    assert observer.qparams() == same.qparams()


@all_classes
def test_memory_layout_does_not_matter(cls, make_values):
    x = make_values('silu', 2 * 3 * 20 * 20).view(2, 3, 20, 20)
    variants = [
        x.contiguous(memory_format=torch.channels_last),
        x.transpose(1, 3),
        torch.stack((x, x), -1)[..., 0],
    ]
    expected = cls(QScheme())
    expected.update(x)
    for variant in variants:
        observer = cls(QScheme())
        observer.update(variant)
        assert observer.qparams() == expected.qparams()


@all_classes
def test_the_tensor_is_left_alone(cls, make_values):
    x = make_values('silu', 300).view(10, 30).requires_grad_()
    before = x.detach().clone()
    for axis in (None, 0):
        observer = cls(QScheme(channel_axis=axis))
        observer.update(x)
        assert not observer.qparams()[0].requires_grad
    assert torch.equal(x.detach(), before)


@all_classes
def test_changing_the_tensor_afterwards_does_not_matter(cls, make_values):
    x = make_values('gaussian', 300).view(10, 30)
    changed, kept = (cls(QScheme(channel_axis=0)) for _ in range(2))
    kept.update(x.clone())
    changed.update(x)
    x.zero_()
    assert all(torch.equal(a, b) for a, b in zip(changed.qparams(), kept.qparams(), strict=True))


def num_numbers(obj) -> int:
    """Numbers held by an observer in tensors."""
    if isinstance(obj, torch.Tensor):
        return obj.untyped_storage().nbytes() // obj.element_size()
    if isinstance(obj, (list, tuple)):
        return sum(num_numbers(item) for item in obj)
    return num_numbers(list(vars(obj).values())) if hasattr(obj, '__dict__') else 0


@all_classes
@pytest.mark.parametrize('axis', [None, 1])
def test_memory_is_bounded(cls, axis, make_values):
    observer = cls(QScheme(channel_axis=axis))
    sizes = []
    for seed in range(20):
        x = make_values('student', 60000, seed).view(2, 3, -1) * (seed + 1)
        observer.update(x)
        sizes.append(num_numbers(observer))
    # One scale per tensor: less than one input; from the second update on it never grows.
    assert sizes[-1] == sizes[1]
    assert sizes[-1] < 30000


@all_classes
@pytest.mark.parametrize('symmetric', [True, False])
def test_a_channel_is_treated_as_a_tensor_of_its_own(cls, symmetric, make_values, device):
    batches = [make_values('silu', 1500, seed).view(5, 3, 100) for seed in range(3)]
    factors = torch.tensor([0.1, 1.0, 10.0], device=device).view(1, 3, 1)
    scaled = [x.to(device) * factors for x in batches]
    observer = cls(QScheme(symmetric=symmetric, channel_axis=1))
    alone = [cls(QScheme(symmetric=symmetric)) for _ in range(3)]
    for x in scaled:
        observer.update(x)
        for channel, single in enumerate(alone):
            single.update(x[:, channel])
    scale, zero_point = observer.qparams()
    for channel, single in enumerate(alone):
        expected_scale, expected_zero_point = single.qparams()
        assert scale[channel] == expected_scale
        assert zero_point[channel] == expected_zero_point


@all_classes
def test_sixteen_bits_keep_the_full_range(cls, make_values):
    x = make_values('gaussian')
    options = dict(percentile=100.0) if cls is observers.PercentileObserver else {}
    observer = cls(QScheme(bits=16, symmetric=True), **options)
    observer.update(x)
    assert ends(observer)[1].item() == pytest.approx(x.abs().max().item(), rel=1e-5)


def test_options_of_lp_are_checked():
    for option in (dict(p=0), dict(num_candidates=0), dict(low=0.0), dict(low=0.9, high=0.5)):
        with pytest.raises(QuantizationError, match='LpObserver'):
            LpObserver(QScheme(), **option)

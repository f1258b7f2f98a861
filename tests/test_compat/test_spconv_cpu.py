import sys

import pytest
import torch

from mmptq.compat import spconv_cpu, spconv_empty

needs_cpu_fix = pytest.mark.skipif(torch.cuda.is_available(), reason='CUDA trains spconv itself')


@pytest.fixture
def tensor():
    spconv = pytest.importorskip('spconv.pytorch')
    generator = torch.Generator().manual_seed(0)
    cells = torch.randperm(6**3, generator=generator)[:60]
    places = torch.stack([cells * 0, cells // 36, cells // 6 % 6, cells % 6], dim=1).int()

    def build(features):
        return spconv.SparseConvTensor(features, places, [6, 6, 6], 1)

    return build, torch.randn(60, 3, generator=generator)


@needs_cpu_fix
@pytest.mark.parametrize('kind', ['SubMConv3d', 'SparseConv3d', 'SparseInverseConv3d'])
def test_gradients_agree_with_finite_differences(tensor, kind):
    import spconv.pytorch as spconv

    build, features = tensor
    torch.manual_seed(0)
    if kind == 'SparseInverseConv3d':
        net = spconv.SparseSequential(
            spconv.SparseConv3d(3, 4, 3, stride=2, padding=1, bias=False, indice_key='down'),
            spconv.SparseInverseConv3d(4, 5, 3, bias=False, indice_key='down'),
        )
    else:
        net = spconv.SparseSequential(getattr(spconv, kind)(3, 5, 3, padding=1, bias=False))

    def loss(values):
        return net(build(values)).features.square().sum()

    features.requires_grad_()
    loss(features).backward()
    for parameter in (features, *net.parameters()):
        direction = torch.randn_like(parameter)
        step = 1e-2
        with torch.no_grad():
            parameter += step * direction
            above = loss(features)
            parameter -= 2 * step * direction
            below = loss(features)
            parameter += step * direction
        # The loss is a quartic polynomial at most, so the central difference is nearly exact.
        numeric = float(above - below) / (2 * step)
        analytic = float((parameter.grad * direction).sum())
        assert analytic == pytest.approx(numeric, rel=1e-2)


@pytest.fixture
def two_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize('kind', ['SubMConv3d', 'SparseConv3d'])
def test_two_threads_compute_what_torch_computes(two_threads, kind):
    spconv = pytest.importorskip('spconv.pytorch')
    torch.manual_seed(0)
    size, count = 40, 20_000
    cells = torch.randperm(size**3)[:count]
    places = torch.stack([cells * 0, cells // size**2, cells // size % size, cells % size], 1).int()
    features = torch.randn(count, 8, requires_grad=True)
    stride = 1 if kind == 'SubMConv3d' else 2
    conv = getattr(spconv, kind)(8, 8, 3, stride=stride, padding=1, bias=False)
    tensor = spconv.SparseConvTensor(features, places, [size] * 3, 1)
    weight = conv.weight.detach().permute(0, 4, 1, 2, 3)
    expected = torch.nn.functional.conv3d(tensor.dense(), weight, stride=stride, padding=1)
    for _ in range(3):  # without the fix, every other run is wrong
        output = conv(tensor)
        z, y, x = output.indices[:, 1:].long().T
        target = expected[0, :, z, y, x].T
        assert torch.allclose(output.features, target, atol=1e-4)
    (from_sparse,) = torch.autograd.grad(output.features.square().sum(), features)
    (from_dense,) = torch.autograd.grad(target.square().sum(), features)
    assert torch.allclose(from_sparse, from_dense, atol=1e-3)
    assert torch.get_num_threads() == 2


def test_the_stream_of_cuda_stays_where_cuda_works(monkeypatch):
    ops = pytest.importorskip('spconv.pytorch.ops')
    monkeypatch.setattr(ops, 'get_current_stream', 'untouched')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert spconv_cpu.ask_for_no_stream() is None
    assert ops.get_current_stream == 'untouched'


def test_missing_spconv_is_no_error(monkeypatch):
    for name in ('spconv', 'spconv.pytorch', 'spconv.pytorch.ops', 'spconv.pytorch.conv'):
        monkeypatch.setitem(sys.modules, name, None)
    assert spconv_cpu.ask_for_no_stream() is None
    assert spconv_cpu.compute_on_one_thread() is None
    assert spconv_empty.accept_empty_input() is None
    with spconv_cpu.remembered_pairs():
        pass


@pytest.mark.parametrize('budget', [2**20, 0])
@pytest.mark.parametrize('kind', ['SubMConv3d', 'SparseConv3d'])
def test_remembered_pairs_change_nothing(tensor, kind, budget, monkeypatch):
    import spconv.pytorch as spconv
    from spconv.pytorch import ops

    build, features = tensor
    torch.manual_seed(0)
    searches, search = [], ops.get_indice_pairs
    monkeypatch.setattr(
        ops, 'get_indice_pairs', lambda *args: searches.append(args) or search(*args)
    )
    convs = [getattr(spconv, kind)(3, 5, size, padding=size // 2, bias=False) for size in (3, 3, 5)]
    scans = build(features), build(features)
    scans[1].indices = scans[0].indices.flip(0).contiguous()  # the same sites, other rows
    expected = [conv(scan) for conv in convs for scan in scans]
    searches.clear()
    with spconv_cpu.remembered_pairs(budget):
        for _ in range(2):
            found = [conv(scan) for conv in convs for scan in scans]
            for x, y in zip(found, expected, strict=True):
                assert torch.equal(x.indices, y.indices)
                assert torch.allclose(x.features, y.features, atol=1e-6)
    assert len(searches) == (4 if budget else 12)  # two kinds of convolutions on two scans

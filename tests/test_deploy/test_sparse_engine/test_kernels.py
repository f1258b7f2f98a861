"""Kernels of all instruction sets against the definition of a sparse convolution."""

import numpy as np
import pytest
from sparse_cases import (
    CASES,
    GRID,
    ISAS,
    integer_weights,
    integers_of,
    kernels_of,
    random_sites,
    reference_sums,
)

from mmptq.deploy.sparse_engine.geometry import INVERSE, STRIDED, SUBM, KernelGeometry
from mmptq.deploy.sparse_engine.layer import InputGrid, Kernels, PackedLayer
from mmptq.deploy.sparse_engine.sites import NeighbourLists, SiteSet
from mmptq.quantization import QuantizationError

BEHIND = [
    InputGrid(40.0, 5, 0, 255),
    InputGrid(40.0, -9, -128, 127),
    InputGrid(0.01, 7, 0, 65535),
]


class Problem:
    """A case with sites, features, weights, and its sums by the definition."""

    def __init__(self, library, name: str, count: int = 120):
        self.geometry, inputs, self.out, self.grid = CASES[name]
        generator = np.random.default_rng(1)
        before = SiteSet(library, 2, GRID)
        before.fill(random_sites(count))
        self.source = self.target = before
        if self.geometry.kind != SUBM:
            forward = KernelGeometry(STRIDED, *self._numbers())
            self.target = SiteSet(library, 2, forward.output_shape(GRID))
            self.target.reach(before, forward)
        if self.geometry.kind == INVERSE:
            self.source, self.target = self.target, before
        sites = self.source.coords()
        self.x = (generator.standard_normal((len(sites), inputs)) * 20).astype(np.float32)
        self.weight = integer_weights(self.out, self.geometry.offsets, inputs)
        if self.grid.is_float:
            self.weight = self.weight.astype(np.float32)
        self.scale = generator.uniform(0.01, 0.1, self.out).astype(np.float32)
        self.bias = generator.standard_normal(self.out).astype(np.float32)
        self.residual = generator.standard_normal((len(self.target), self.out)).astype(np.float32)
        self.sums = reference_sums(
            self.geometry, self.weight, integers_of(self.x, self.grid), sites, self.target.coords()
        )

    def _numbers(self) -> tuple:
        g = self.geometry
        return g.kernel, g.stride, g.padding, g.dilation

    def run(self, kernels: Kernels, **options):
        lists = NeighbourLists(kernels.library, self.geometry, self.source, self.target)
        lists.build(kernels.isa, kernels.threads)
        layer = PackedLayer(kernels, self.weight, self.scale, self.bias, self.grid)
        return layer(kernels.quantize(self.x, self.grid), lists, **options)


@pytest.mark.parametrize('isa', ISAS)
@pytest.mark.parametrize('name', CASES)
def test_sums_are_those_of_the_definition(library, isa, name):
    problem = Problem(library, name)
    kernels = kernels_of(library, isa)
    y, _ = problem.run(kernels)
    step = np.float32(1 if problem.grid.is_float else problem.grid.scale)
    if problem.grid.is_float:
        expected = problem.sums * problem.scale + problem.bias
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-3)
        return
    assert np.abs(problem.sums).max() < 2**31
    expected = problem.sums.astype(np.float32) * (problem.scale * step) + problem.bias
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize('isa', ISAS)
@pytest.mark.parametrize('grid', BEHIND)
def test_residual_relu_and_integers_of_the_layer_behind(library, isa, grid):
    problem = Problem(library, 'odd channels')
    kernels = kernels_of(library, isa)
    y, q = problem.run(kernels, relu=True, residual=problem.residual, grid=grid)
    step = np.float32(problem.grid.scale)
    expected = problem.sums.astype(np.float32) * (problem.scale * step) + problem.bias
    expected = np.maximum(expected + problem.residual, np.float32(0))
    np.testing.assert_array_equal(y, expected)
    found = q[:, : problem.out].astype(np.int64) - grid.shift - grid.zero
    np.testing.assert_array_equal(found, integers_of(expected, grid))
    assert not q[:, problem.out :].any()
    assert problem.run(kernels, relu=True, grid=grid, floats=False)[0] is None


@pytest.mark.parametrize('name', ['wide', 'zero point', 'float'])
def test_all_instruction_sets_and_numbers_of_threads_give_the_same_bits(library, name):
    problem = Problem(library, name, count=400)  # more than one tile
    results = {
        (isa, threads): problem.run(Kernels(library, isa, threads), relu=True)[0].tobytes()
        for isa in library.instruction_sets()
        for threads in (1, 2, 5)
    }
    assert len(results) >= 3
    assert len(set(results.values())) == 1


def test_two_sites_by_hand(library):
    sites = SiteSet(library, 1, (1, 1, 4))
    sites.fill(np.array([[0, 0, 0, 2], [0, 0, 0, 1]]))
    lists = NeighbourLists(library, KernelGeometry(SUBM, (1, 1, 3)), sites, sites)
    kernels = Kernels(library)
    assert lists.build(kernels.isa, 1) == 4
    assert lists.table().tolist() == [[-1, 0], [0, 1], [1, -1]]
    grid = InputGrid(0.5, 1, 0, 255)
    weight = np.array([[[1], [10], [100]]], np.int8)
    layer = PackedLayer(kernels, weight, np.ones(1), np.full(1, 0.25), grid)
    x = kernels.quantize(np.array([[1.0], [2.0]], np.float32), grid)  # 3 and 5, zero point 1
    assert x[:, 0].tolist() == [3, 5]
    y, _ = layer(x, lists)
    assert y[:, 0].tolist() == [0.25 + 10 * 1 + 100 * 2, 0.25 + 1 * 1 + 10 * 2]


def test_ties_go_to_the_even_integer(library):
    grid = InputGrid(1.0, 0, 0, 255)
    for isa in library.instruction_sets():
        x = np.array([[0.5, 1.5, 2.5, 2.6, -4, 254.5, 255.5, 1e9]], np.float32)
        rows = Kernels(library, isa).quantize(x, grid)
        assert rows.tolist() == [[0, 2, 2, 3, 0, 254, 255, 255]]


def test_an_instruction_set_that_is_not_there(library, monkeypatch):
    with pytest.raises(QuantizationError, match="cannot use 'avx1024' on this processor: use one"):
        Kernels(library, 'avx1024')
    monkeypatch.setenv('MMPTQ_SPARSE_ISA', 'plain')
    assert Kernels(library).isa == 0


def test_sums_that_leave_int32_are_refused(library):
    grid = InputGrid(1.0, 0, 0, 65535)
    weight = np.full((1, 27, 10), 127, np.int8)
    with pytest.raises(QuantizationError, match='int32'):
        PackedLayer(Kernels(library), weight, np.ones(1), np.zeros(1), grid)

"""Sites and neighbours against the definition; coordinates that do not fit."""

import numpy as np
import pytest
from sparse_cases import CASES, GRID, random_sites, seen_sites

from mmptq.deploy.sparse_engine.geometry import INVERSE, STRIDED, SUBM, KernelGeometry
from mmptq.deploy.sparse_engine.sites import NeighbourLists, SiteSet
from mmptq.quantization import QuantizationError

STRIDES = [case[0] for case in CASES.values() if case[0].kind == STRIDED]


def sites_of(library, coords, batch=2, shape=GRID) -> SiteSet:
    sites = SiteSet(library, batch, shape)
    sites.fill(coords)
    return sites


def test_rows_lie_in_the_order_of_cells(library):
    coords = random_sites()
    sites = SiteSet(library, 2, GRID)
    rows = sites.fill(coords)
    assert len(sites) == len(coords)
    np.testing.assert_array_equal(sites.coords(), coords[np.lexsort(coords.T[::-1])])
    np.testing.assert_array_equal(sites.coords()[rows], coords)
    fewer = coords[:7]
    assert sorted(sites.fill(fewer)) == list(range(7))  # nothing is left of the scan before
    np.testing.assert_array_equal(sites.coords(), fewer[np.lexsort(fewer.T[::-1])])


@pytest.mark.parametrize('geometry', STRIDES)
def test_strided_sites_and_lists_there_and_back(library, geometry):
    coords = random_sites()
    source = sites_of(library, coords)
    target = SiteSet(library, 2, geometry.output_shape(GRID))
    target.reach(source, geometry)
    cells = np.ndindex(2, *target.shape)
    known = {tuple(site) for site in coords.tolist()}
    expected = [c for c in cells if any(p in known for _, p in seen_sites(geometry, c))]
    assert [tuple(site) for site in target.coords().tolist()] == expected

    lists = NeighbourLists(library, geometry, source, target)
    table_pairs = lists.build(0, 1)
    table = lists.table()
    rows = {tuple(site): row for row, site in enumerate(source.coords().tolist())}
    for row, site in enumerate(expected):
        wanted = dict.fromkeys(range(geometry.offsets), -1)
        wanted.update({k: rows.get(place, -1) for k, place in seen_sites(geometry, site)})
        assert table[:, row].tolist() == [wanted[k] for k in range(geometry.offsets)]
    numbers = (geometry.kernel, geometry.stride, geometry.padding, geometry.dilation)
    back = NeighbourLists(library, KernelGeometry(INVERSE, *numbers), target, source)
    assert back.build(0, 1) == table_pairs == (table >= 0).sum()
    there, here = np.nonzero(table >= 0)
    np.testing.assert_array_equal(back.table()[there, table[there, here]], here)


def test_threads_mark_the_same_sites(library):
    generator = np.random.default_rng(0)
    cells = generator.permutation(2 * 40 * 50 * 70)[:70000]
    coords = np.stack(np.unravel_index(cells, (2, 40, 50, 70)), 1).astype(np.int32)
    source = SiteSet(library, 2, (40, 50, 70))
    source.fill(coords)
    geometry = STRIDES[0]
    shape = geometry.output_shape((40, 50, 70))
    one, more = SiteSet(library, 2, shape), SiteSet(library, 2, shape)
    one.reach(source, geometry)
    for _ in range(5):
        more.reach(source, geometry, threads=3)
        np.testing.assert_array_equal(more.coords(), one.coords())


@pytest.mark.parametrize('width', [1, 3, 4, 8, 9])
def test_neighbours_across_the_words_of_a_long_line(library, width):
    """64 cells share a word; most words of a large grid are empty."""
    places = [0, 1, 62, 63, 128, 129, 256, 383, 384, 511]
    coords = np.array([(0, z, 0, x) for z in range(2) for x in places[z:]], np.int32)
    sites = sites_of(library, coords, 1, (2, 1, 512))
    geometry = KernelGeometry(SUBM, (1, 1, width))
    lists = NeighbourLists(library, geometry, sites, sites)
    rows = {tuple(site): row for row, site in enumerate(sites.coords().tolist())}
    for isa in library.instruction_sets().values():
        lists.build(isa, 1)
        table = lists.table()
        for site, row in rows.items():
            expected = [rows.get(place, -1) for _, place in seen_sites(geometry, site)]
            assert table[:, row].tolist() == expected


def test_lists_do_not_depend_on_threads_or_instructions(library):
    sites = sites_of(library, random_sites(500))
    tables = []
    for isa in library.instruction_sets().values():
        for threads in (1, 3):
            lists = NeighbourLists(library, KernelGeometry(SUBM, (3, 3, 3)), sites, sites)
            lists.build(isa, threads)
            tables.append(lists.table())
    for table in tables[1:]:
        np.testing.assert_array_equal(table, tables[0])


@pytest.mark.parametrize('site', [(2, 0, 0, 0), (0, 5, 0, 0), (0, 0, 9, 0), (0, 0, 0, -1)])
def test_a_voxel_outside_of_the_grid_is_named(library, site):
    sites = SiteSet(library, 2, GRID)
    place = ', '.join(map(str, site))
    with pytest.raises(QuantizationError, match=rf'= \({place}\) is outside of the grid of 2 x 5'):
        sites.fill(np.array([(0, 0, 0, 0), site], np.int32))
    assert len(sites) == 0
    assert sites.fill(np.array([(0, 0, 0, 0)], np.int32)).tolist() == [0]


def test_a_voxel_that_comes_twice_is_named(library):
    sites = SiteSet(library, 1, GRID)
    with pytest.raises(QuantizationError, match=r'\(0, 1, 2, 3\) comes twice'):
        sites.fill(np.array([(0, 1, 2, 3), (0, 0, 0, 0), (0, 1, 2, 3)], np.int32))
    assert len(sites) == 0


def test_a_grid_that_is_too_large(library):
    with pytest.raises(QuantizationError, match='use larger voxels or a smaller batch'):
        SiteSet(library, 1, (2000, 2000, 2000))


def test_no_voxel_at_all(library):
    sites = sites_of(library, np.empty((0, 4), np.int32))
    target = SiteSet(library, 2, STRIDES[0].output_shape(GRID))
    target.reach(sites, STRIDES[0])
    lists = NeighbourLists(library, STRIDES[0], sites, target)
    assert (len(target), lists.build(0, 2), lists.table().shape) == (0, 0, (27, 0))

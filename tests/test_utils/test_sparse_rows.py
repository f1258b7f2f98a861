"""Rows of sparse tensors are told apart by their coordinates."""

import pytest
import torch

from mmptq.utils import sparse_rows
from mmptq.utils.sparse_rows import (
    RowsDifferError,
    align_rows,
    from_site_order,
    in_site_order,
    row_order,
)

SITES = torch.tensor([[0, 2, 1], [0, 1, 5], [1, 0, 0], [0, 1, 3]])


def test_order_by_hand():
    shuffled = SITES[[3, 1, 0, 2]]
    assert row_order(SITES, SITES.clone()) is None
    order = row_order(shuffled, SITES)
    assert order.tolist() == [2, 1, 3, 0]
    assert torch.equal(shuffled[order], SITES)


@pytest.mark.parametrize(
    'other', [SITES[:3], SITES + torch.tensor([0, 0, 1]), torch.zeros(0, 3, dtype=torch.int64)]
)
def test_other_sites_are_refused(other):
    with pytest.raises(RowsDifferError, match='different sites'):
        row_order(SITES, other)


def test_no_sites():
    assert row_order(SITES[:0], SITES[:0]) is None


def sparse(order=slice(None)):
    spconv = pytest.importorskip('spconv.pytorch')
    features = torch.arange(4.0)[:, None].expand(4, 2).contiguous()
    return spconv.SparseConvTensor(features[order], SITES[order].int(), [8, 8], 2)


def test_trees_are_aligned_with_what_belongs_to_them():
    plain = torch.ones(2)
    tree, reference = [dict(x=sparse([2, 0, 3, 1])), plain], [dict(x=sparse()), plain]
    weights = [torch.tensor([2.0, 0.0, 3.0, 1.0]), None, plain]
    aligned, moved = align_rows(tree, reference, weights)
    assert torch.equal(aligned[0]['x'].features, reference[0]['x'].features)
    assert torch.equal(aligned[0]['x'].indices, reference[0]['x'].indices)
    assert moved[0].tolist() == [0, 1, 2, 3]
    assert moved[1] is None and moved[2] is plain
    assert align_rows(reference, reference)[0] is reference


def test_order_of_sites(monkeypatch):
    """On a CPU nothing moves; elsewhere values follow their sites through any order."""
    values = [torch.tensor([10.0, 11.0, 12.0, 13.0]), None]
    assert in_site_order(sparse(), values)[0] is values[0]
    monkeypatch.setattr(sparse_rows, 'order_varies', lambda indices: True)
    kept = in_site_order(sparse(), values)
    assert kept[0].tolist() == [13, 11, 10, 12]  # (0,1,3), (0,1,5), (0,2,1), (1,0,0)
    assert kept[1] is None
    shuffled = sparse([2, 0, 3, 1])
    assert from_site_order(shuffled, kept)[0].tolist() == [12, 10, 13, 11]
    assert from_site_order(shuffled, [1.0, None]) == [1.0, None]

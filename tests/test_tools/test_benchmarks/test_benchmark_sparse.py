"""benchmark_sparse.py on few sites: the integer form computes the same convolution."""

import pytest
from helpers import load_tool, run_tool

pytest.importorskip('spconv.pytorch')


def test_integer_products_agree_with_spconv(capsys):
    run_tool('benchmark_sparse', '--sites', '3000', '--rounds', '1', '--channels', '16', '32')
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith('| ')][1:]
    assert [row.split('|')[1].strip() for row in rows] == ['16', '32']
    assert all(float(row.split('|')[-2]) < 0.03 for row in rows)


def test_pairs_cover_both_directions():
    import torch

    tool = load_tool('benchmark_sparse')
    torch.manual_seed(0)
    layer = tool.spconv.SubMConv3d(16, 16, 3, bias=False, indice_key='sites')
    with torch.no_grad():
        pairs = tool.neighbour_pairs(layer(tool.make_tensor(500, 16)))
    offsets = [offset for offset, _, _ in pairs]
    assert sorted(offsets) == [k for k in range(27) if k != 13]

"""Sparse units are recorded, learned and frozen on a CPU."""

import pytest
import torch
from reconstruction import toy_context
from torch import nn

from mmptq.ptq import Reconstructor
from mmptq.quantization import freeze, quantized_layers
from mmptq.report import read_record

spconv = pytest.importorskip('spconv.pytorch')
pytest.importorskip('mmdet3d')


class SparseDetector(nn.Module):
    """A sparse layer, a residual block that shares its index pairs, a strided layer."""

    def __init__(self):
        super().__init__()
        from mmdet3d.models.layers import SparseBasicBlock, make_sparse_convmodule

        norm = dict(type='BN1d', eps=1e-3, momentum=0.01)
        options = dict(norm_cfg=norm, padding=1)
        self.first = make_sparse_convmodule(4, 8, 3, 'a', conv_type='SubMConv3d', **options)
        conv = dict(type='SubMConv3d', indice_key='a')
        self.block = SparseBasicBlock(8, 8, norm_cfg=norm, conv_cfg=conv)
        self.last = make_sparse_convmodule(
            8, 8, 3, 'b', stride=2, conv_type='SparseConv3d', **options
        )

    def data_preprocessor(self, batch, training):
        return batch

    def forward(self, inputs, mode='predict'):
        x = spconv.SparseConvTensor(inputs[:, :4], inputs[:, 4:].int(), [8, 8, 8], 1)
        return self.last(self.block(self.first(x))).dense()


def scans():
    result = []
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        cells = torch.randperm(512, generator=generator)[:40]
        coords = torch.stack([cells * 0, cells // 64, cells // 8 % 8, cells % 8], 1)
        result.append(torch.cat([torch.randn(40, 4, generator=generator), coords], 1))
    return result


def test_sparse_units(tmp_path):
    ctx = toy_context(tmp_path, SparseDetector(), scans())
    settings = dict(num_iters=60, batch_size=2, act_lr=2e-3, drop_prob=0.5)
    Reconstructor(cache_budget=3000, **settings).run(ctx)  # most of it in a file
    rows = read_record(tmp_path, 'reconstruction')
    assert [row['unit'] for row in rows] == ['first', 'block', 'last']
    assert all(row['after'] < row['before'] for row in rows)
    layers = quantized_layers(ctx.model).values()
    assert all(layer.weight_quantizer.rounding is not None for layer in layers)
    before = ctx.model(scans()[0])
    freeze(ctx.model)
    assert torch.equal(ctx.model(scans()[0]), before)


class StridedDetector(nn.Module):
    """Three sparse layers; rows of the strided one may come in another order in every run."""

    def __init__(self, shuffle: bool):
        super().__init__()
        options = dict(padding=1, bias=False)  # spconv refuses a bias on a CPU
        self.first = spconv.SubMConv3d(4, 8, 3, indice_key='a', **options)
        self.down = spconv.SparseConv3d(8, 8, 3, stride=2, indice_key='b', **options)
        self.last = spconv.SubMConv3d(8, 8, 3, indice_key='c', **options)
        self.generator = torch.Generator('cpu').manual_seed(0)
        if shuffle:
            self.down.register_forward_hook(self.shuffle)

    def shuffle(self, module, args, x):
        """As a GPU does, where torch's dispatcher does not look."""
        order = torch.randperm(len(x.features), generator=self.generator)
        with torch.utils._python_dispatch._disable_current_modes():
            parts = (x.features[order], x.indices[order], x.spatial_shape, x.batch_size)
            return spconv.SparseConvTensor(*parts)

    def data_preprocessor(self, batch, training):
        return batch

    def forward(self, inputs, mode='predict'):
        x = spconv.SparseConvTensor(inputs[:, :4], inputs[:, 4:].int(), [8, 8, 8], 1)
        for layer in (self.first, self.down):
            x = layer(x)
            x = x.replace_feature(x.features.relu())
        return self.last(x).dense()


@pytest.mark.parametrize('drop_prob', [0.0, 0.5])
def test_the_order_of_rows_does_not_matter(drop_prob, tmp_path):
    runs = []
    for shuffle in (False, True):
        folder = tmp_path / str(shuffle)
        ctx = toy_context(folder, StridedDetector(shuffle), scans())
        Reconstructor('layer', num_iters=30, batch_size=2, drop_prob=drop_prob).run(ctx)
        runs.append(read_record(folder, 'reconstruction'))
    plain, shuffled = runs
    assert [row['unit'] for row in shuffled] == ['first', 'down', 'last']
    for row, other in zip(plain, shuffled, strict=True):
        assert other['after'] < other['before']
        # Rows that do not belong together have a loss that is a hundred times larger.
        assert other['before'] == pytest.approx(row['before'], rel=0.5)
        assert other['after'] == pytest.approx(row['after'], rel=0.5)

"""Units are found from what runs, on toy modules and on the real blocks of mmdet and mmdet3d."""

import pytest
import torch
from helpers import QUANTIZER
from reconstruction import ToyDetector, images
from torch import nn

from mmptq.ptq.units.find import find_units, without
from mmptq.quantization import QuantizationError, apply_plan, make_plan


def units_of(model, *args, granularity='block', overrides=None):
    model.eval()  # returns nothing in mmdet's backbones
    apply_plan(model, make_plan(model, QUANTIZER, lambda: model(*args)))
    return find_units(model, lambda: model(*args), granularity, overrides)


def names_of(model, *args, **options):
    return [unit.name for unit in units_of(model, *args, **options)]


def toy(**options):
    return units_of(ToyDetector(), images(1)[0], **options)


def test_blocks_of_the_toy():
    units = toy()
    assert [unit.name for unit in units] == ['stem', 'blocks.0', 'blocks.1', 'bbox_head']
    assert list(units[1].layers) == ['blocks.0.conv1', 'blocks.0.conv2']
    assert list(units[3].layers) == ['bbox_head.tower', 'bbox_head.scores', 'bbox_head.boxes']


def test_layers_of_the_toy():
    units = {unit.name: unit for unit in toy(granularity='layer')}
    assert units['bbox_head.tower'].num_calls == 2
    assert units['stem'].num_calls == 1  # with its ReLU
    assert list(units) == sorted(units, key=list(units).index)
    assert len(units) == 8


def test_the_network():
    (unit,) = toy(granularity='network')
    assert unit.name == ''
    assert len(unit.layers) == 8


def test_overrides():
    assert [u.name for u in toy(overrides=['blocks'])] == ['stem', 'blocks', 'bbox_head']
    names = [u.name for u in toy(overrides=[dict(name='bbox_head', granularity='layer')])]
    assert names[3:] == ['bbox_head.tower', 'bbox_head.scores', 'bbox_head.boxes']
    names = [u.name for u in toy(granularity='layer', overrides=['blocks.*'])]
    assert names[:3] == ['stem', 'blocks.0', 'blocks.1']


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(granularity='stage'), "granularity='stage' is unknown"),
        (
            dict(overrides=['block']),
            "units 'block' matches no module .* closest is 'blocks'",
        ),
        (dict(overrides=[dict(name='stem', size=1)]), 'units has the entry'),
        (dict(overrides=[dict(name='stem', granularity='net')]), 'units has the entry'),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(QuantizationError, match=message):
        toy(**options)


def test_a_module_that_does_not_run_as_a_whole():
    class Listed(nn.Module):
        def __init__(self):
            super().__init__()
            self.convs = nn.ModuleList([nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)])

        def forward(self, x):
            return self.convs[1](self.convs[0](x))

    assert names_of(Listed(), images(1)[0]) == ['convs.0', 'convs.1']
    with pytest.raises(QuantizationError, match="'convs', but its layers also run outside of it"):
        names_of(Listed(), images(1)[0], overrides=['convs'])


def test_skip():
    units = toy()
    assert [u.name for u in without(units, ['blocks*'])] == ['stem', 'bbox_head']
    with pytest.raises(QuantizationError, match="skip 'neck' matches no unit: the closest is '"):
        without(units, ['neck'])


def test_a_shared_module_is_one_unit():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 3, 1)
            self.second = self.first

        def forward(self, x):
            return self.second(self.first(x))

    (unit,) = units_of(Shared(), images(1)[0])
    assert (unit.name, unit.num_calls) == ('first', 2)


@pytest.mark.parametrize(
    ('cfg', 'expected'),
    [
        (dict(type='ResNet', depth=18, base_channels=4), ['conv1', 'layer1.0', 'layer1.1']),
        (
            dict(type='ResNeXt', depth=50, base_channels=4, groups=2, base_width=4),
            ['conv1', 'layer1.0', 'layer1.1', 'layer1.2'],
        ),
        (
            dict(type='CSPDarknet', deepen_factor=0.33, widen_factor=0.125),
            ['stem', 'stage1.0', 'stage1.1', 'stage2.0'],
        ),
    ],
)
def test_backbones_of_mmdet(cfg, expected):
    from mmdet.registry import MODELS

    names = names_of(MODELS.build(cfg), torch.randn(1, 3, 32, 32))
    assert names[: len(expected)] == expected


def test_neck_and_head_of_mmdet():
    from mmdet.registry import MODELS

    levels = [torch.randn(1, 8, 8, 8), torch.randn(1, 8, 4, 4)]
    neck = dict(
        type='FPN', in_channels=[8, 8], out_channels=8, num_outs=3, add_extra_convs='on_input'
    )
    names = names_of(nn.Sequential(MODELS.build(neck)), levels)
    assert sorted(names) == [
        *(f'0.fpn_convs.{i}' for i in range(3)),
        *(f'0.lateral_convs.{i}' for i in range(2)),
    ]
    head = dict(type='RetinaHead', num_classes=2, in_channels=8, feat_channels=8, stacked_convs=1)
    (unit,) = units_of(nn.Sequential(MODELS.build(head)), [levels[0]] * 5)
    assert unit.name == '0'
    assert len(unit.layers) == 4


def test_second_of_mmdet3d():
    pytest.importorskip('mmdet3d')
    from mmdet3d.models import SECOND, SECONDFPN

    backbone = SECOND(in_channels=4, out_channels=[4, 8], layer_nums=[2, 3], layer_strides=[1, 2])
    assert names_of(backbone, torch.randn(1, 4, 8, 8)) == ['blocks.0', 'blocks.1']
    neck = SECONDFPN(in_channels=[4, 8], out_channels=[4, 4], upsample_strides=[1, 2])
    levels = [torch.randn(1, 4, 8, 8), torch.randn(1, 8, 4, 4)]
    assert names_of(neck, levels) == ['deblocks.0', 'deblocks.1']


@pytest.mark.parametrize('granularity', ['block', 'layer'])
def test_layers_of_transformers(granularity):
    layer = nn.TransformerEncoderLayer(8, 2, 16)
    x = torch.randn(4, 1, 8, requires_grad=True)
    names = names_of(nn.Sequential(layer), x, granularity=granularity)
    projections = [f'0.self_attn.{name}_proj' for name in ('q', 'k', 'v', 'out')]
    assert names == (['0'] if granularity == 'block' else [*projections, '0.linear1', '0.linear2'])


def test_sparse_encoder_of_mmdet3d():
    pytest.importorskip('spconv')
    pytest.importorskip('mmdet3d')
    from mmdet3d.models import SparseEncoder

    model = SparseEncoder(
        in_channels=4,
        sparse_shape=[9, 16, 16],
        base_channels=4,
        output_channels=8,
        encoder_channels=((4, 4), (4, 4)),
        encoder_paddings=((0, 1), (0, 0)),
        block_type='basicblock',
    )
    cells = torch.randperm(9 * 16 * 16, generator=torch.Generator().manual_seed(0))[:60]
    coords = torch.stack([cells * 0, cells // 256, cells // 16 % 16, cells % 16], 1).int()
    names = names_of(model, torch.randn(60, 4), coords, 1)
    assert names[0] == 'conv_input'
    assert names[-1] == 'conv_out'
    assert 'encoder_layers.encoder_layer1.0' in names
    assert len(names) > 4


def test_blocks_of_swin():
    from mmdet.models.backbones import SwinTransformer

    options = dict(
        embed_dims=8, depths=(1, 2), num_heads=(1, 2), strides=(4, 2), out_indices=(0, 1)
    )
    swin = SwinTransformer(pretrain_img_size=64, window_size=4, **options)
    names = names_of(swin, torch.rand(1, 3, 32, 32))
    blocks = ['stages.0.blocks.0', 'stages.1.blocks.0', 'stages.1.blocks.1']
    assert names == ['patch_embed', blocks[0], 'stages.0.downsample', *blocks[1:]]


class TransformerHead(nn.Module):
    """A head with its transformer inside, as PETR's."""

    def __init__(self):
        super().__init__()
        self.layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 8), 2)
        self.scores = nn.Linear(8, 3)

    def forward(self, x):
        return self.scores(self.layers(x))


def test_layers_of_a_transformer_inside_of_a_head():
    head = nn.Sequential(TransformerHead())
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    names = names_of(head, torch.rand(5, 2, 8))
    torch.backends.mha.set_fastpath_enabled(fast)
    assert names == ['0.layers.layers.0', '0.layers.layers.1', '0.scores']

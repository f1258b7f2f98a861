"""ENet: sizes, sharing and unpooling."""

import pytest
import torch
from mmengine.registry import DefaultScope

from mmptq.lanes.models import ENet, ENetDecoder, LaneExistence
from mmptq.lanes.models.backbones.enet_blocks import ENetUpBottleneck


@pytest.fixture(autouse=True)
def scope():
    DefaultScope.get_instance('lanes', scope_name='mmdet')


def count(*modules) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def test_stages_of_enet_sad():
    feats = ENet().eval()(torch.zeros(1, 3, 32, 48))
    assert [tuple(f.shape[1:]) for f in feats] == [
        (16, 16, 24),
        (64, 8, 12),
        (128, 4, 6),
        (128, 4, 6),
    ]
    assert ENetDecoder(num_classes=5).eval()(feats).shape == (1, 5, 32, 48)


def test_number_of_parameters_is_near_the_published_one():
    existence = LaneExistence(num_lanes=4, feat_size=(36, 100), in_channels=128)
    assert count(ENet(), ENetDecoder(5), existence) == pytest.approx(0.98e6, rel=0.05)


def test_deep_stages_may_share_their_weights():
    shared = ENet(num_deep_stages=3, shared=True)
    assert count(shared) < count(ENet(num_deep_stages=2))
    feats = shared.eval()(torch.zeros(1, 3, 32, 48))
    assert len(feats) == 5 and feats[-1].shape == (1, 128, 4, 6)


def test_unpooling_puts_values_where_the_maxima_were():
    block = ENetUpBottleneck(2, 4).eval()
    before = torch.rand(1, 4, 6, 8)
    places = torch.nn.functional.max_pool2d(before, 2, return_indices=True)[1]
    x = torch.rand(1, 2, 3, 4)
    for module in block.extension.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.zeros_(module.weight)  # the extension adds nothing
    out = block(x, before)
    expected = torch.zeros(1, 4, 48).scatter(2, places.flatten(2), block.main(x).flatten(2))
    assert torch.equal(out.flatten(2), expected.relu())


def test_sides_must_be_divisible_by_eight():
    with pytest.raises(ValueError, match='got 50x32'):
        ENet()(torch.zeros(1, 3, 32, 50))

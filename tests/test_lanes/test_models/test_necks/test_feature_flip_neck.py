import torch
from mmdet.registry import MODELS

from mmptq.lanes.models.necks.feature_flip_neck import FeatureFlipFusion


def test_symmetric_where_it_starts():
    """Without offsets and with equal weights for both, a feature and its mirror image are alike."""
    fusion = FeatureFlipFusion(4).eval()
    fusion.init_weights()
    assert fusion.offset.weight.abs().sum() == 0
    fusion.project.conv.weight.data.zero_()
    fusion.project.conv.weight.data[range(4), range(4)] = 1
    fusion.deform.weight.data.zero_()
    fusion.deform.weight.data[range(4), range(4), 1, 1] = 2  # the mask is a half everywhere
    x = torch.randn(2, 4, 5, 6)
    out = fusion(x)
    expected = (x + x.flip(-1)).relu() / (1 + 1e-5) ** 0.5
    assert torch.allclose(out, expected, atol=1e-5)
    assert torch.allclose(out, out.flip(-1), atol=1e-5)


def test_gives_the_feature_and_the_fused_one():
    neck = MODELS.build(dict(type='mmdet.FeatureFlipNeck', in_channels=8, mid_channels=4))
    x = torch.randn(2, 8, 5, 6)
    plain, fused = neck((torch.zeros(1), x))
    assert plain is x and fused.shape == x.shape and (fused >= 0).all()
    assert [block.conv2.conv.dilation for block in neck.blocks] == [(4, 4), (8, 8)]

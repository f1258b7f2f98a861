import pytest
import torch
from torch import nn

from mmptq.lanes.models.necks.lane_transformer import Attention, LaneTransformer


def test_same_as_torch():
    torch.manual_seed(0)
    ours, theirs = Attention(8, 2), nn.MultiheadAttention(8, 2, batch_first=True)
    projections = ours.query_proj, ours.key_proj, ours.value_proj
    for layer, weight, bias in zip(
        projections, theirs.in_proj_weight.chunk(3), theirs.in_proj_bias.chunk(3), strict=True
    ):
        layer.weight.data, layer.bias.data = weight.data.clone(), bias.data.clone()
    ours.out_proj.load_state_dict(theirs.out_proj.state_dict())
    query, key, value = torch.randn(2, 3, 8), torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    expected = theirs(query, key, value)[0]
    assert torch.allclose(ours(query, key, value), expected, atol=1e-6)


def test_heads_must_divide_the_channels():
    with pytest.raises(ValueError, match='embed_dims=10 must be a multiple of num_heads=4'):
        Attention(10, 4)


def test_all_decoder_layers_in_training_only():
    transformer = LaneTransformer(embed_dims=8, feedforward_channels=16, dropout=0.0)
    inputs = torch.randn(2, 6, 8), torch.randn(1, 6, 8), torch.randn(3, 8)
    trained = transformer.train()(*inputs)
    assert trained.shape == (2, 2, 3, 8)
    assert torch.allclose(transformer.eval()(*inputs), trained[:, -1:], atol=1e-6)

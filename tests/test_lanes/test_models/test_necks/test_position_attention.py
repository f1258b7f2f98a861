"""Attention between positions."""

import torch

from mmptq.lanes.models.necks.position_attention import PositionAttention


def test_attention_starts_without_influence_and_then_mixes_all_positions():
    torch.manual_seed(0)
    layer = PositionAttention(3, 8).eval()
    image = torch.rand(1, 3, 5, 20)
    other = image.clone()
    other[..., 19] = 0
    with torch.no_grad():
        # The two convolutions reach two columns.
        assert torch.equal(layer(image)[..., :17], layer(other)[..., :17])
        layer.gamma.fill_(1.0)
        assert not torch.equal(layer(image)[..., :17], layer(other)[..., :17])


def test_weights_of_a_query_add_up_to_one():
    layer = PositionAttention(3, 8).eval()
    for parameter in (*layer.value.parameters(), layer.gamma):
        parameter.data.zero_()
    layer.value.bias.data.fill_(2.0)
    image = torch.rand(1, 3, 4, 5)
    with torch.no_grad():
        plain = layer.pre_conv(image)
        plain = plain + layer.encoding(torch.zeros(1, 4, 5, dtype=torch.bool))
        layer.gamma.fill_(0.5)
        torch.testing.assert_close(layer(image), layer.final_conv(plain + 0.5 * 2.0))

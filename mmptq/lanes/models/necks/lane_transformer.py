"""The transformer of LSTR, made of layers that can be quantized."""

import torch
from mmcv.cnn.bricks.transformer import FFN
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn


class Attention(BaseModule):
    """Multi-head attention with linear layers as projections.

    Equals ``nn.MultiheadAttention``, whose projections are parameters without a module.

    Args:
        embed_dims (int): Channels C.
        num_heads (int): Number of heads; must divide the channels.
        dropout (float): Dropout rate of the attention weights.
    """

    def __init__(self, embed_dims: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if embed_dims % num_heads:
            raise ValueError(f'embed_dims={embed_dims} must be a multiple of num_heads={num_heads}')
        self.num_heads = num_heads
        self.scale = (embed_dims // num_heads) ** -0.5
        self.query_proj = nn.Linear(embed_dims, embed_dims)
        self.key_proj = nn.Linear(embed_dims, embed_dims)
        self.value_proj = nn.Linear(embed_dims, embed_dims)
        self.out_proj = nn.Linear(embed_dims, embed_dims)
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Compute the attention.

        Args:
            query (Tensor): (B, N, C).
            key (Tensor): (B, M, C).
            value (Tensor): (B, M, C).

        Returns:
            Tensor: (B, N, C).
        """
        query = self._split(self.query_proj(query)) * self.scale
        key, value = self._split(self.key_proj(key)), self._split(self.value_proj(value))
        weights = self.dropout((query @ key.transpose(-2, -1)).softmax(dim=-1))
        return self.out_proj((weights @ value).transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        """(B, N, C) to (B, heads, N, C / heads)."""
        return x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)


class EncoderLayer(BaseModule):
    """Self attention and a feed-forward net, each followed by a normalisation.

    Args:
        embed_dims (int): Channels C.
        num_heads (int): Number of attention heads.
        feedforward_channels (int): Hidden channels of the feed-forward net.
        dropout (float): Dropout rate.
    """

    def __init__(
        self, embed_dims: int, num_heads: int, feedforward_channels: int, dropout: float
    ) -> None:
        super().__init__()
        self.self_attn = Attention(embed_dims, num_heads, dropout)
        self.ffn = FFN(embed_dims, feedforward_channels, ffn_drop=dropout)
        self.norm1, self.norm2 = nn.LayerNorm(embed_dims), nn.LayerNorm(embed_dims)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        """One layer; ``x`` (B, N, C) and its ``position`` of the same shape."""
        placed = x + position
        x = self.norm1(x + self.dropout(self.self_attn(placed, placed, x)))
        return self.norm2(self.ffn(x))


class DecoderLayer(EncoderLayer):
    """Self attention, attention to the image, and a feed-forward net.

    Args:
        embed_dims (int): Channels C.
        num_heads (int): Number of heads of both attentions.
        feedforward_channels (int): Hidden channels of the feed-forward net.
        dropout (float): Dropout rate.
    """

    def __init__(
        self, embed_dims: int, num_heads: int, feedforward_channels: int, dropout: float
    ) -> None:
        super().__init__(embed_dims, num_heads, feedforward_channels, dropout)
        self.cross_attn = Attention(embed_dims, num_heads, dropout)
        self.norm3 = nn.LayerNorm(embed_dims)

    def forward(self, x: Tensor, position: Tensor, memory: Tensor, places: Tensor) -> Tensor:
        """One layer; ``x`` and ``position`` (B, Q, C), ``memory`` and ``places`` (B, N, C)."""
        placed = x + position
        x = self.norm1(x + self.dropout(self.self_attn(placed, placed, x)))
        found = self.cross_attn(x + position, memory + places, memory)
        return self.norm3(self.ffn(self.norm2(x + self.dropout(found))))


@MODELS.register_module()
class LaneTransformer(BaseModule):
    """Encoder of image features and decoder of lane queries, with a final normalisation.

    DETR's transformer (https://arxiv.org/abs/2005.12872) in the small size that LSTR uses
    (https://arxiv.org/abs/2011.04233).

    Args:
        embed_dims (int): Channels C.
        num_heads (int): Number of heads of all attentions.
        feedforward_channels (int): Hidden channels of the feed-forward nets.
        num_layers (int): Number of encoder layers and of decoder layers.
        dropout (float): Dropout rate.

    Example:
        >>> transformer = dict(type='LaneTransformer', embed_dims=32, feedforward_channels=128)
    """

    def __init__(
        self,
        embed_dims: int = 32,
        num_heads: int = 2,
        feedforward_channels: int = 128,
        num_layers: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(init_cfg=dict(type='Xavier', layer='Linear', distribution='uniform'))
        self.embed_dims = embed_dims
        sizes = embed_dims, num_heads, feedforward_channels, dropout
        self.encoder = nn.ModuleList(EncoderLayer(*sizes) for _ in range(num_layers))
        self.decoder = nn.ModuleList(DecoderLayer(*sizes) for _ in range(num_layers))
        self.norm = nn.LayerNorm(embed_dims)

    def forward(self, memory: Tensor, places: Tensor, queries: Tensor) -> Tensor:
        """Decode the lane queries of an image.

        Args:
            memory (Tensor): (B, N, C) features.
            places (Tensor): (1, N, C) their positions.
            queries (Tensor): (Q, C) learned positions of the lane queries.

        Returns:
            Tensor: (B, L, Q, C), after each of the L decoder layers in training, and after the last
            one otherwise (L = 1).
        """
        for layer in self.encoder:
            memory = layer(memory, places)
        queries = queries.expand(len(memory), -1, -1)
        x, decoded = torch.zeros_like(queries), []
        for layer in self.decoder:
            x = layer(x, queries, memory, places)
            decoded.append(x)
        decoded = decoded if self.training else decoded[-1:]
        return self.norm(torch.stack(decoded, dim=1))

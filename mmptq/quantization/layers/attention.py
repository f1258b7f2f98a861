"""Torch's multi-head attention with its projections as layers.

``nn.MultiheadAttention`` keeps its input projections as parameters, which no layer can quantize.
``SplitAttention`` computes the same with three linear layers, ``q_proj``, ``k_proj`` and
``v_proj``; these and ``out_proj`` are quantized as any linear layer.
"""

import math
from collections.abc import MutableMapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .registry import QuantMixin

PROJECTIONS = ('q_proj', 'k_proj', 'v_proj')
# What a subclass of nn.MultiheadAttention must leave as it is so that it can be split.
METHODS = ('forward', '__call__', '_call_impl', 'merge_masks')


class SplitAttention(nn.MultiheadAttention):
    """``nn.MultiheadAttention`` with linear layers as input projections.

    It is never constructed: ``split`` assigns the class. Softmax and the two products stay as they
    are; ``layers/products.py`` quantizes the products where a scheme wants it. A state dict has
    torch's names (``in_proj_weight``, ``in_proj_bias``) as long as none of the projections is
    quantized, and either form can be loaded.

    Attributes:
        q_proj (nn.Linear): Makes the queries; like ``k_proj`` and ``v_proj``.
    """

    @property
    def in_proj_weight(self) -> Tensor | None:
        """The three weights as one, as torch has it; None where their sizes differ."""
        return self._joined('weight') if self._qkv_same_embed_dim else None

    @property
    def in_proj_bias(self) -> Tensor | None:
        """The three biases as one, as torch has it."""
        return None if self.q_proj.bias is None else self._joined('bias')

    def _joined(self, parameter: str) -> Tensor:
        return torch.cat([getattr(getattr(self, name), parameter) for name in PROJECTIONS])

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """See ``nn.MultiheadAttention``."""
        batched = query.dim() == 3
        if self.batch_first and batched:
            query, key, value = (x.transpose(1, 0) for x in (query, key, value))
        F._mha_shape_check(query, key, value, key_padding_mask, attn_mask, self.num_heads)
        if not batched:
            query, key, value = (x.unsqueeze(1) for x in (query, key, value))
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        self._check_sizes(query, key, value)
        # Torch's own operator does not show the products, which may be quantized.
        stepwise = need_weights or 'products' in self._modules
        masks = _masks(key_padding_mask, attn_mask, query.dtype, is_causal, stepwise)
        causal = is_causal and key_padding_mask is None and not stepwise
        output, weights = self._attend(query, key, value, masks, causal, stepwise)
        if not need_weights:
            weights = None
        elif average_attn_weights:
            weights = weights.mean(dim=1)
        if not batched:
            return output.squeeze(1), None if weights is None else weights.squeeze(0)
        return output.transpose(1, 0) if self.batch_first else output, weights

    def _check_sizes(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        if query.shape[-1] != self.embed_dim:
            raise AssertionError(
                f'was expecting embedding dimension of {self.embed_dim}, but got {query.shape[-1]}'
            )
        same = key.shape == value.shape
        if not same if self._qkv_same_embed_dim else key.shape[:2] != value.shape[:2]:
            raise AssertionError(f'key shape {key.shape} does not match value shape {value.shape}')

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        masks: tuple[Tensor | None, Tensor | None],
        causal: bool,
        stepwise: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """Outputs (L, B, C), and weights (B, heads, L, S) where it is computed step by step."""
        length, batch, _ = query.shape
        mask, padding = masks
        _check_mask(mask, (length, len(key)), batch * self.num_heads)
        mask = mask.unsqueeze(0) if mask is not None and mask.dim() == 2 else mask
        q = self._by_head(self.q_proj(query))
        k, v, mask, padding = self._extended(self.k_proj(key), self.v_proj(value), mask, padding)
        if padding is not None:
            padding = padding.view(batch, 1, 1, k.size(1)).expand(-1, self.num_heads, -1, -1)
            padding = padding.reshape(batch * self.num_heads, 1, k.size(1))
            mask = padding if mask is None else mask + padding
        multiply = self._weighted if stepwise else self._fused
        heads, weights = multiply(q, k, v, mask, causal)
        output = self.out_proj(heads.reshape(length * batch, self.embed_dim))
        if weights is not None:
            weights = weights.view(batch, self.num_heads, length, k.size(1))
        return output.view(length, batch, self.embed_dim), weights

    def _by_head(self, x: Tensor) -> Tensor:
        """(L, B, C) as (B * heads, L, C / heads)."""
        return x.reshape(len(x), x.shape[1] * self.num_heads, self.head_dim).transpose(0, 1)

    def _extended(
        self, k: Tensor, v: Tensor, mask: Tensor | None, padding: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Keys and values by head with the learned and the zero entries, and the masks for them."""
        extra = 0
        if self.bias_k is not None:
            k = torch.cat([k, self.bias_k.repeat(1, k.shape[1], 1)])
            v = torch.cat([v, self.bias_v.repeat(1, v.shape[1], 1)])
            extra += 1
        k, v = self._by_head(k), self._by_head(v)
        if self.add_zero_attn:
            k, v = (torch.cat([x, x.new_zeros(len(x), 1, x.shape[2])], dim=1) for x in (k, v))
            extra += 1
        if extra:
            mask = None if mask is None else F.pad(mask, (0, extra))
            padding = None if padding is None else F.pad(padding, (0, extra))
        return k, v, mask, padding

    def _weighted(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool
    ) -> tuple[Tensor, Tensor]:
        """Attention step by step, as torch computes it where the weights are wanted."""
        q = q * math.sqrt(1.0 / float(q.shape[2]))
        if mask is None:
            weights = torch.bmm(q, k.transpose(-2, -1))
        else:
            weights = torch.baddbmm(mask, q, k.transpose(-2, -1))
        weights = weights.softmax(dim=-1)
        if self.training and self.dropout > 0:
            weights = F.dropout(weights, p=self.dropout)
        return torch.bmm(weights, v).transpose(0, 1), weights

    def _fused(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool
    ) -> tuple[Tensor, None]:
        """Attention by torch's own operator."""
        split = (len(q) // self.num_heads, self.num_heads)
        if mask is not None:
            one = mask.dim() == 3 and len(mask) == 1
            mask = mask.unsqueeze(0) if one else mask.unflatten(0, split)
        q, k, v = (x.unflatten(0, split) for x in (q, k, v))
        dropout = self.dropout if self.training else 0.0
        heads = F.scaled_dot_product_attention(q, k, v, mask, dropout, causal)
        return heads.permute(2, 0, 1, 3), None

    def _load_from_state_dict(
        self, state_dict: MutableMapping[str, Tensor], prefix: str, *args: Any
    ) -> None:
        _divide(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def __reduce_ex__(self, protocol: int) -> tuple:
        """Pickle by the float type: classes of subclasses are made while running."""
        _, _, *state = super().__reduce_ex__(protocol)
        return _empty, (float_attention(type(self)),), *state


def split(attention: nn.MultiheadAttention) -> None:
    """Turn the input projections of an attention into layers, in place; it computes the same."""
    sources = attention._parameters
    packed = sources.pop('in_proj_weight')
    separate = [sources.pop(f'{name}_weight') for name in PROJECTIONS]
    weights = separate if packed is None else packed.chunk(3)
    bias = sources.pop('in_proj_bias')
    biases = (None,) * 3 if bias is None else bias.chunk(3)
    out_proj = attention._modules.pop('out_proj')
    owner = separate[0] if packed is None else packed
    for name, weight, part in zip(PROJECTIONS, weights, biases, strict=True):
        layer = nn.Linear(*reversed(weight.shape), bias=part is not None, device='meta')
        layer.weight = _own(weight, owner)
        if part is not None:
            layer.bias = _own(part, bias)
        attention.add_module(name, layer.train(attention.training))
    out_proj.__class__ = nn.Linear  # its forward runs from now on
    attention._modules['out_proj'] = out_proj
    attention.__class__ = split_type(type(attention))
    attention._register_state_dict_hook(_join)


def split_type(float_type: type) -> type:
    """The version with layers of ``nn.MultiheadAttention`` or a subclass that computes the same."""
    if float_type not in _SPLIT_TYPES:
        name = f'Split{float_type.__name__}'
        _SPLIT_TYPES[float_type] = type(name, (SplitAttention, float_type), {})
    return _SPLIT_TYPES[float_type]


def float_attention(kind: type) -> type:
    """Inverse of ``split_type``, also of its subclasses; others are returned as they are."""
    known = {found: float_type for float_type, found in _SPLIT_TYPES.items()}
    return next((known[base] for base in kind.__mro__ if base in known), kind)


_SPLIT_TYPES: dict[type, type] = {nn.MultiheadAttention: SplitAttention}


def _empty(float_type: type) -> nn.Module:
    """An empty split attention, which its pickled state fills."""
    kind = split_type(float_type)
    return kind.__new__(kind)


def _own(part: Tensor, owner: nn.Parameter) -> nn.Parameter:
    """A parameter with memory of its own, by which its layer is known."""
    return nn.Parameter(part.detach().clone(), requires_grad=owner.requires_grad)


def _masks(
    padding: Tensor | None,
    mask: Tensor | None,
    dtype: torch.dtype,
    is_causal: bool,
    need_weights: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """Both masks as numbers that are added to the products; in the order mask, padding."""
    if is_causal and mask is None:
        raise RuntimeError(
            'Need attn_mask if specifying the is_causal hint. You may use the Transformer module '
            'method `generate_square_subsequent_mask` to create this mask.'
        )
    padding = F._canonical_mask(
        mask=padding,
        mask_name='key_padding_mask',
        other_type=F._none_or_dtype(mask),
        other_name='attn_mask',
        target_type=dtype,
    )
    if is_causal and padding is None and not need_weights:
        return None, None
    mask = F._canonical_mask(
        mask=mask,
        mask_name='attn_mask',
        other_type=None,
        other_name='',
        target_type=dtype,
        check_other=False,
    )
    return mask, padding


def _check_mask(mask: Tensor | None, size: tuple[int, int], heads: int) -> None:
    expected = size if mask is None or mask.dim() == 2 else (heads, *size)
    if mask is not None and tuple(mask.shape) != expected:
        raise RuntimeError(
            f'The shape of the {mask.dim()}D attn_mask is {mask.shape}, but should be {expected}.'
        )


def _divide(state: MutableMapping[str, Tensor], prefix: str) -> None:
    """Torch's names of the input projections in a state dict become those of the layers."""
    for parameter in ('weight', 'bias'):
        packed = state.pop(f'{prefix}in_proj_{parameter}', None)
        if packed is not None:
            for name, part in zip(PROJECTIONS, packed.chunk(3), strict=False):
                state[f'{prefix}{name}.{parameter}'] = part
    for name in PROJECTIONS:
        if f'{prefix}{name}_weight' in state:
            state[f'{prefix}{name}.weight'] = state.pop(f'{prefix}{name}_weight')


def _join(
    attention: SplitAttention, state: MutableMapping[str, Tensor], prefix: str, _: Any
) -> None:
    """Torch's names in the state dict of an attention whose projections are all float."""
    layers = [getattr(attention, name) for name in PROJECTIONS]
    if any(isinstance(layer, QuantMixin) for layer in layers):
        return
    weights = [state.pop(f'{prefix}{name}.weight') for name in PROJECTIONS]
    if attention._qkv_same_embed_dim:
        state[f'{prefix}in_proj_weight'] = torch.cat(weights)
    else:
        state.update(zip((f'{prefix}{name}_weight' for name in PROJECTIONS), weights, strict=True))
    if attention.q_proj.bias is not None:
        biases = [state.pop(f'{prefix}{name}.bias') for name in PROJECTIONS]
        state[f'{prefix}in_proj_bias'] = torch.cat(biases)

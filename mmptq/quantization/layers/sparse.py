"""Quantized versions of spconv 2 sparse convolutions (import-guarded).

The weight is (out, k..., in), so its channel axis is 0. Only the features of active sites are
quantized; zero is always exactly representable, so the empty sites stay empty. A scan without any
active site passes through with the right shapes, which spconv itself refuses.
"""

import torch

from mmptq.compat.spconv_empty import empty_output, is_empty

from .registry import QuantMixin, quantized_version_of

try:
    from spconv import pytorch as spconv
except ImportError:  # spconv is optional: asked for when a sparse model is quantized
    SPARSE_CONVS: tuple[type, ...] = ()
else:
    from spconv.pytorch import SparseConvTensor

    SPARSE_CONVS = (spconv.conv.SparseConvolution,)

    class QuantSparseMixin(QuantMixin):
        """Forward shared by all sparse convolutions."""

        def forward(
            self, input: SparseConvTensor, add_input: SparseConvTensor | None = None
        ) -> SparseConvTensor:
            if is_empty(self, input):
                return empty_output(self, input)
            quantized = input.replace_feature(self.input_quantizer(input.features))
            # What decides between spconv's two paths is whether a gradient is wanted, and not
            # self.training: the inference path calls an operator without autograd. On a CPU it
            # refuses a bias too, which every layer with a folded BatchNorm has.
            return self._conv_forward(
                torch.is_grad_enabled() or not quantized.features.is_cuda,
                quantized,
                self.weight_quantizer(self.weight),
                self.bias,
                add_input,
                name=self.name,
                sparse_unique_name=self._sparse_unique_name,
                act_type=self.act_type,
                act_alpha=self.act_alpha,
                act_beta=self.act_beta,
            )

    @quantized_version_of(spconv.SubMConv2d)
    class QuantSubMConv2d(QuantSparseMixin, spconv.SubMConv2d):
        """Quantized spconv SubMConv2d."""

    @quantized_version_of(spconv.SubMConv3d)
    class QuantSubMConv3d(QuantSparseMixin, spconv.SubMConv3d):
        """Quantized spconv SubMConv3d."""

    @quantized_version_of(spconv.SparseConv2d)
    class QuantSparseConv2d(QuantSparseMixin, spconv.SparseConv2d):
        """Quantized spconv SparseConv2d."""

    @quantized_version_of(spconv.SparseConv3d)
    class QuantSparseConv3d(QuantSparseMixin, spconv.SparseConv3d):
        """Quantized spconv SparseConv3d."""

    @quantized_version_of(spconv.SparseInverseConv3d)
    class QuantSparseInverseConv3d(QuantSparseMixin, spconv.SparseInverseConv3d):
        """Quantized spconv SparseInverseConv3d."""

"""Quantized versions of spconv 2 sparse convolutions (import-guarded).

The weight is (out, k..., in), so its channel axis is 0. Only the features of active sites are
quantized; zero is always exactly representable, so the empty sites stay empty. A scan without a
single active site passes through with the right shapes, which spconv itself refuses: importing this
file makes its float convolutions accept it, too.
"""

import functools

import torch

from mmptq.compat import spconv_cpu  # noqa: F401  (its import makes spconv right on a CPU)

from .registry import QuantMixin, quantized_version_of

try:
    from spconv import pytorch as spconv
except ImportError:  # spconv is optional: asked for when a sparse model is quantized
    SPARSE_CONVS: tuple[type, ...] = ()
else:
    from spconv.pytorch import SparseConvTensor
    from spconv.pytorch.ops import get_conv_output_size

    SPARSE_CONVS = (spconv.conv.SparseConvolution,)

    def _forward_nothing(
        conv: spconv.conv.SparseConvolution, input: SparseConvTensor
    ) -> SparseConvTensor:
        """The output of a convolution for an input without active sites."""
        output = input.replace_feature(input.features.new_zeros(0, conv.out_channels))
        if not conv.subm:
            output.spatial_shape = get_conv_output_size(
                input.spatial_shape, conv.kernel_size, conv.stride, conv.padding, conv.dilation
            )
        return output

    def _accept_nothing() -> None:
        forward = spconv.conv.SparseConvolution.forward

        @functools.wraps(forward)
        def accepting(self, input: SparseConvTensor, *args, **kwargs) -> SparseConvTensor:
            if len(input.features) == 0 and not self.inverse:
                return _forward_nothing(self, input)
            return forward(self, input, *args, **kwargs)

        spconv.conv.SparseConvolution.forward = accepting

    _accept_nothing()

    class QuantSparseMixin(QuantMixin):
        """Forward shared by all sparse convolutions."""

        def forward(
            self, input: SparseConvTensor, add_input: SparseConvTensor | None = None
        ) -> SparseConvTensor:
            if len(input.features) == 0 and not self.inverse:
                return _forward_nothing(self, input)
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

"""Where an inference engine wants quantizers in a file, as data."""

from dataclasses import dataclass, field, fields
from typing import Any

from mmptq.quantization import QuantizationError
from mmptq.quantization.limits import EXPORT_KEY, SchemeLimits

from .opset import LOWEST


@dataclass(frozen=True)
class ExportProfile:
    """What an export does for a backend; shared code knows no backend by name.

    Args:
        limits (SchemeLimits): What the scheme has to obey.
        engine (str): Name in ``ENGINES`` of the engine that runs the files.
        unsupported_ops (tuple[str]): ONNX operators that the engine cannot run.
        quantized_ops (tuple[str]): ONNX operators, besides weighted layers, that run in integers
            when their inputs are quantized.
        activation_matmuls (bool): Whether matrix products of two activations (attention) run in
            integers.
        matmul_rhs (dict, optional): Fields of the scheme that the right operand of such a product
            must have; None stands for ``limits.act``.
        quantize_layer_outputs (bool): Whether a layer only runs in integers when its output is
            quantized too.
        even_outputs (bool): Whether layers before a channel multiplier write 8 bits with even
            channels. Otherwise these outputs are quantized as all others are.
        integer_silu (bool): Whether SiLU before a channel multiplier is computed in integers, at
            the cost of one more convolution and some accuracy. Otherwise it is float where
            ``even_outputs`` is set.
        float_head_channels (int, optional): A last layer with at most this many channels stays
            float, together with what follows it: little time is lost and boxes keep their
            precision. None keeps all last layers float at no cost.
        one_grid_per_tensor (bool): Whether a tensor that goes to layers with different grids is
            quantized once, and from that grid to the others.
        float_fused_addend (bool): Whether an addition is computed inside of the layer that makes
            one operand, which then stays unquantized.
        unfold_transposed_convs (bool): Whether transposed convolutions become 1x1 convolutions
            where that is possible.
        int32_bias (bool): Whether biases are stored as integers.
        float16_remainder (bool): Whether everything that stays float, scales and biases included,
            is float16; inputs and outputs of the file are float32.
        lowest_opset (int): The first version of the ONNX operators that the engine reads.
        observer (dict): Observer of the tensors that no scheme covers.
    """

    limits: SchemeLimits
    engine: str
    unsupported_ops: tuple[str, ...] = ()
    quantized_ops: tuple[str, ...] = ()
    activation_matmuls: bool = False
    matmul_rhs: dict[str, Any] | None = None
    quantize_layer_outputs: bool = False
    even_outputs: bool = False
    integer_silu: bool = False
    float_head_channels: int | None = None
    one_grid_per_tensor: bool = False
    float_fused_addend: bool = False
    unfold_transposed_convs: bool = False
    int32_bias: bool = False
    float16_remainder: bool = False
    lowest_opset: int = LOWEST
    observer: dict[str, Any] = field(default_factory=lambda: dict(type='MinMaxObserver'))

    @property
    def name(self) -> str:
        """Name of the backend."""
        return self.limits.name

    @classmethod
    def from_config(cls, cfg: dict[str, Any]) -> 'ExportProfile':
        """Build from the ``backend`` dict of a config and its key ``export``.

        Raises:
            QuantizationError: For an unknown key, or if ``export.engine`` is missing.
        """
        limits, own = SchemeLimits.from_config(cfg), dict(cfg.get(EXPORT_KEY) or {})
        known = [f.name for f in fields(cls) if f.name != 'limits']
        for key in own:
            if key not in known:
                raise QuantizationError(
                    f"backend.{EXPORT_KEY} has an unknown key '{key}': use {', '.join(known)}"
                )
        if 'engine' not in own:
            raise QuantizationError(
                f"backend '{limits.name}' lacks {EXPORT_KEY}.engine: see configs/_base_/backends"
            )
        return cls(limits, **own)

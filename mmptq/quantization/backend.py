"""What an inference engine can run, as data: limits of schemes, and where it wants quantizers."""

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from mmptq.utils.detector_parts import ENCODER_LAYERS
from mmptq.utils.errors import QuantizationError

from .placement import LayerPlan
from .scheme import QScheme


@dataclass(frozen=True)
class BackendProfile:
    """A named set of limits; the code knows none of the names.

    The first group is obeyed when a model is quantized, so that what is simulated is what runs;
    the second when it is exported.

    Args:
        name (str): For messages and for the metadata of files.
        engine (str): What runs the files.
        weight_bits (tuple[int]): Allowed widths of weights.
        act_bits (tuple[int]): Allowed widths of layer inputs.
        weight (dict): Fields of the scheme that 8-bit weights must have. Narrower weights are
            stored as 8-bit integers around their zero point, which is free.
        act (dict): Fields of the scheme that layer inputs must have.
        per_channel_act (bool): Whether an input may have one scale per channel.
        rules (list[dict]): Placement rules that come after those of the scheme.
        unsupported_ops (tuple[str]): ONNX operators that the engine cannot run.
        quantized_ops (tuple[str]): ONNX operators, besides weighted layers, that run in integers
            when their inputs are quantized.
        activation_matmuls (bool): Whether products of two activations (attention) run in integers.
        matmul_rhs (dict, optional): Fields of the scheme that the second operand of such a
            product must have; None stands for those of ``act``.
        quantize_layer_outputs (bool): Whether a layer only runs in integers when its output is
            quantized too.
        float_head_channels (int, optional): A last layer with at most this many channels stays
            float, as what is made of its result: there is little to gain and boxes would lose
            precision. None keeps all of them float without a cost.
        one_grid_per_tensor (bool): Whether a tensor that goes to layers with different grids is
            quantized once, and from that grid to the others.
        float_fused_addend (bool): Whether an addition is computed inside of the layer that makes
            one operand, which then stays unquantized.
        unfold_transposed_convs (bool): Whether transposed convolutions become 1x1 convolutions
            where that is possible.
        int32_bias (bool): Whether biases are stored as integers.
        float16_remainder (bool): Whether everything that stays float, scales and biases included,
            is float16; inputs and outputs of the file are float32.
        observer (dict): Observer of the tensors that no scheme covers.
        outside (tuple[str]): Globs over names of layers that never run in the engine.
    """

    name: str
    engine: str
    weight_bits: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8)
    act_bits: tuple[int, ...] = (8,)
    weight: dict[str, Any] = field(default_factory=dict)
    act: dict[str, Any] = field(default_factory=dict)
    per_channel_act: bool = False
    rules: list[dict] = field(default_factory=list)
    unsupported_ops: tuple[str, ...] = ()
    quantized_ops: tuple[str, ...] = ()
    activation_matmuls: bool = False
    matmul_rhs: dict[str, Any] | None = None
    quantize_layer_outputs: bool = False
    float_head_channels: int | None = None
    one_grid_per_tensor: bool = False
    float_fused_addend: bool = False
    unfold_transposed_convs: bool = False
    int32_bias: bool = False
    float16_remainder: bool = False
    observer: dict[str, Any] = field(default_factory=lambda: dict(type='MinMaxObserver'))
    outside: tuple[str, ...] = ENCODER_LAYERS

    @classmethod
    def from_config(cls, cfg: dict[str, Any]) -> 'BackendProfile':
        """Build from the ``backend`` dict of a config.

        Raises:
            QuantizationError: For an unknown key, or if ``name`` or ``engine`` is missing.
        """
        known = [f.name for f in fields(cls)]
        for key in cfg:
            if key not in known:
                raise QuantizationError(
                    f"backend has an unknown key '{key}': use {', '.join(known)}"
                )
        for key in ('name', 'engine'):
            if key not in cfg:
                raise QuantizationError(f"backend lacks '{key}': see configs/_base_/backends")
        return cls(**{k: tuple(v) if isinstance(v, tuple) else v for k, v in cfg.items()})

    def constrain(self, quantizer: dict[str, Any]) -> dict[str, Any]:
        """The quantizer config with everything set that the backend demands.

        Args:
            quantizer (dict): See ``place``.

        Raises:
            QuantizationError: For bits that the backend cannot express.
        """
        result = dict(quantizer, rules=[])
        for part in ('weight', 'act'):
            if quantizer.get(part) is not None:
                # Only the default: a rule may be for a layer that runs outside of the engine, as
                # sparse convolutions do. ``check_plan`` looks at those inside.
                self._check_bits(part, quantizer[part].get('bits', 8), f'quantizer.{part}')
                result[part] = self._demand(part, quantizer[part])
        for rule in [*(quantizer.get('rules') or []), *self.rules]:
            rule = dict(rule)
            for part in ('weight', 'act'):
                if rule.get(part) is not None:
                    rule[part] = self._demand(part, {**(quantizer.get(part) or {}), **rule[part]})
            result['rules'].append(rule)
        return result

    def _demand(self, part: str, cfg: dict[str, Any]) -> dict[str, Any]:
        applies = part == 'act' or cfg.get('bits', 8) == 8
        return {**cfg, **getattr(self, part)} if applies else dict(cfg)

    def _check_bits(self, part: str, bits: int, where: str) -> None:
        allowed = getattr(self, f'{part}_bits')
        if bits not in allowed:
            what = 'weights' if part == 'weight' else 'activations'
            raise QuantizationError(
                f'{where} has {bits} bits, and {self.name} runs {what} of '
                f'{", ".join(map(str, allowed))} bits: choose such a scheme or another backend'
            )

    def check_plan(self, layers: Iterable[LayerPlan]) -> None:
        """``check`` of the layers that may run in the engine, before anything is calibrated."""
        self.check(
            layer
            for layer in layers
            if not any(fnmatch.fnmatchcase(layer.name, pattern) for pattern in self.outside)
        )

    def check(self, layers: Iterable[LayerPlan]) -> None:
        """Refuse layers that were quantized in a way that the backend cannot express.

        Raises:
            QuantizationError: Names the first layer, what it has and what the backend needs.
        """
        for layer in layers:
            for part, scheme in (('weight', layer.weight), ('act', layer.act)):
                if scheme is not None:
                    self._check_bits(part, scheme.bits, f"'{layer.name}'")
                    self._check_scheme(part, scheme, layer.name)

    def _check_scheme(self, part: str, scheme: QScheme, name: str) -> None:
        what = 'weight' if part == 'weight' else 'input'
        if part == 'act' and scheme.channel_axis is not None and not self.per_channel_act:
            raise QuantizationError(
                f"the input of '{name}' has one scale per channel, and {self.name} runs one per "
                'tensor: quantize with a scheme without per_channel for act'
            )
        demanded = getattr(self, part) if part == 'act' or scheme.bits == 8 else {}
        for key, value in demanded.items():
            # An unsigned grid may be spelled None as well as False.
            if (getattr(scheme, key) or False) != value:
                raise QuantizationError(
                    f"the {what} of '{name}' is {scheme.describe()}, and {self.name} needs "
                    f'{key}={value}: quantize again with --backend {self.name}'
                )

"""What a scheme must obey so that an inference engine can run the result."""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from mmptq.utils.detector_parts import ENCODER_LAYERS
from mmptq.utils.errors import QuantizationError
from mmptq.utils.globs import matches

from .placement import LayerPlan
from .scheme import QScheme

EXPORT_KEY = 'export'  # holds the fields of ``mmptq.deploy.export_profile.ExportProfile``


@dataclass(frozen=True)
class SchemeLimits:
    """The limits of a backend that quantization obeys, so that the simulation is exact.

    Args:
        name (str): Name of the backend, for messages and for the metadata of files.
        weight_bits (tuple[int]): Allowed widths of weights.
        act_bits (tuple[int]): Allowed widths of layer inputs.
        weight (dict): Fields of the scheme that 8-bit weights must have. Narrower weights are
            stored as 8-bit integers around their zero point, which is free.
        act (dict): Fields of the scheme that layer inputs must have.
        per_channel_act (bool): Whether an input may have one scale per channel.
        rules (list[dict]): Placement rules that come after those of the scheme.
        products (dict, optional): What ``quantizer.products`` must have, where the engine runs
            products of two activations in 8 bits; it switches them on. None leaves them to the
            scheme.
        outside (tuple[str]): Globs over names of layers that never run in the engine.

    Example:
        >>> limits = SchemeLimits.from_config(dict(name='npu', act=dict(signed=False)))
        >>> quantizer = limits.constrain(quantizer)
    """

    name: str
    weight_bits: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8)
    act_bits: tuple[int, ...] = (8,)
    weight: dict[str, Any] = field(default_factory=dict)
    act: dict[str, Any] = field(default_factory=dict)
    per_channel_act: bool = False
    rules: list[dict] = field(default_factory=list)
    products: dict[str, Any] | None = None
    outside: tuple[str, ...] = ENCODER_LAYERS

    @classmethod
    def from_config(cls, cfg: dict[str, Any]) -> 'SchemeLimits':
        """Build from the ``backend`` dict of a config; its key ``export`` is for the export.

        Raises:
            QuantizationError: For an unknown key, or if ``name`` is missing.
        """
        own = {key: value for key, value in cfg.items() if key != EXPORT_KEY}
        known = [f.name for f in fields(cls)]
        for key in own:
            if key not in known:
                raise QuantizationError(
                    f"backend has an unknown key '{key}': use {', '.join(known)} or {EXPORT_KEY}"
                )
        if 'name' not in own:
            raise QuantizationError("backend lacks 'name': see configs/_base_/backends")
        return cls(**own)

    def constrain(self, quantizer: dict[str, Any]) -> dict[str, Any]:
        """The quantizer config with everything set that the backend requires.

        Args:
            quantizer (dict): See ``place``.

        Raises:
            QuantizationError: For bits that the backend does not support.
        """
        result = dict(quantizer, rules=[])
        for part in ('weight', 'act'):
            if quantizer.get(part) is not None:
                # Only the default: a rule may be for a layer that runs outside of the engine, such
                # as a sparse convolution. ``check_plan`` looks at the layers inside.
                self._check_bits(part, quantizer[part].get('bits', 8), f'quantizer.{part}')
                result[part] = self._require(part, quantizer[part])
        for rule in [*(quantizer.get('rules') or []), *self.rules]:
            rule = dict(rule)
            for part in ('weight', 'act'):
                if rule.get(part) is not None:
                    rule[part] = self._require(part, {**(quantizer.get(part) or {}), **rule[part]})
            result['rules'].append(rule)
        if self.products is not None or quantizer.get('products') is not None:
            result['products'] = self._products(quantizer.get('products') or {})
        return result

    def _products(self, cfg: dict[str, Any]) -> dict[str, Any]:
        """The scheme of products of two activations, see ``place_products``."""
        own = dict(self.products or {})
        right = {**(cfg.get('right') or {}), **(own.pop('right', None) or {})}
        cfg = {**self._require('act', {'bits': 8, **cfg}), **own}
        self._check_bits('act', cfg['bits'], 'quantizer.products')
        return {**cfg, 'right': right} if right else cfg

    def _require(self, part: str, cfg: dict[str, Any]) -> dict[str, Any]:
        applies = part == 'act' or cfg.get('bits', 8) == 8
        if part == 'act' and cfg.get('narrow'):
            cfg = {**cfg, 'narrow': False}
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
        """``check`` the layers that may run in the engine, before anything is calibrated."""
        self.check(layer for layer in layers if not matches(layer.name, self.outside))

    def check(self, layers: Iterable[LayerPlan]) -> None:
        """Refuse layers with a scheme that the backend does not support.

        Raises:
            QuantizationError: Names the first layer, its scheme and what the backend needs.
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
                'tensor: use a scheme without per_channel for act and a recipe with '
                'ChannelMultiplier, such as --scheme int8 --recipe mult_mse'
            )
        if part == 'act' and scheme.narrow:
            raise QuantizationError(
                f"the input of '{name}' leaves out a level (narrow=True), and {self.name} clips to "
                f'all {2**scheme.bits} levels: quantize again with --backend {self.name}'
            )
        required = getattr(self, part) if part == 'act' or scheme.bits == 8 else {}
        for key, value in required.items():
            # An unsigned grid may be spelled None as well as False.
            if (getattr(scheme, key) or False) != value:
                raise QuantizationError(
                    f"the {what} of '{name}' is {scheme.describe()}, and {self.name} needs "
                    f'{key}={value}: quantize again with --backend {self.name}'
                )

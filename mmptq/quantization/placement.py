"""Which layers are quantized, and how: ordered rules over module names, later ones win."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from mmptq.quantization.graph.parameter_owners import computed_weight, weight_partners
from mmptq.quantization.graph.trace import LayerTrace, Trace
from mmptq.quantization.layers.registry import quant_type_of
from mmptq.utils.errors import QuantizationError
from mmptq.utils.globs import matches, no_match

from .float_parts import attention_layers
from .scheme import QScheme

FEW_CHANNELS = 16
IMAGE_CHANNELS = 3
RULE_KEYS = ('name', 'role', 'weight', 'act', 'reason')
ROLES = ('first', 'points', 'last', 'few_channels', 'depthwise', 'attention', 'coordinates')
# Before the rules of a scheme, which can say otherwise. Positions in metres and inverse sigmoids of
# them have heavy tails, and what is the same for all images costs a float layer next to nothing.
BUILT_IN = (
    dict(
        role='coordinates',
        weight=None,
        act=None,
        reason='its input comes from no image and no layer (positions, learned queries)',
    ),
)
NEVER_EXECUTED = 'never executed in predict mode'


@dataclass
class LayerPlan:
    """How one layer is quantized.

    Attributes:
        name (str): First name of the module.
        kind (str): Class name of the float layer.
        weight (QScheme | None): None leaves the weight float.
        act (QScheme | None): None leaves the input float.
        reason (str): Why something is float, or which rule changed it.
        multiplier (bool): Whether the input is multiplied by channel before it is quantized.
    """

    name: str
    kind: str
    weight: QScheme | None
    act: QScheme | None
    reason: str = ''
    multiplier: bool = False

    @property
    def quantized(self) -> bool:
        """Whether anything of the layer is quantized."""
        return self.weight is not None or self.act is not None


def roles_of(module: nn.Module, record: LayerTrace | None, in_attention: bool = False) -> set[str]:
    """Roles of a layer: first, last (a head output), few_channels (< 16), depthwise; and others.

    ``attention`` is a layer directly inside of an attention: a projection. ``coordinates`` is a
    layer whose input comes neither from the input of the model nor from a layer: position
    encodings, reference points, learned queries. It is not ``first``. ``points`` is a first layer
    that reads no image.

    Linear layers have no role few_channels: engines pad channels of convolutions, and a Linear
    layer with few outputs is ``last`` where they are the outputs of a head.
    """
    roles = set()
    if in_attention:
        roles.add('attention')
    if record is not None and record.coordinates:
        roles.add('coordinates')
    elif record is not None and record.is_first:
        roles.add('first')
        if not reads_images(module):
            roles.add('points')
    if record is not None and not record.feeds_layer:
        roles.add('last')
    channels = [getattr(module, f'{end}_channels', None) for end in ('in', 'out')]
    channels = [c for c in channels if c is not None]
    groups = getattr(module, 'groups', 1)
    if groups > 1 and groups == getattr(module, 'in_channels', None):
        roles.add('depthwise')
    elif channels and min(channels) < FEW_CHANNELS:
        roles.add('few_channels')
    return roles


def reads_images(module: nn.Module) -> bool:
    """Whether a first layer reads images of three channels."""
    return isinstance(module, nn.Conv2d) and module.in_channels == IMAGE_CHANNELS


def place(model: nn.Module, quantizer: dict[str, Any], trace: Trace) -> list[LayerPlan]:
    """Decide the scheme of every layer that has a quantized version.

    Args:
        model (nn.Module): The float model.
        quantizer (dict): ``weight`` and ``act`` are scheme dicts (keys of QScheme plus
            ``per_channel``), or None for float. ``rules`` is a list of dicts with ``name`` (glob
            on module names), or ``role`` (see ``roles_of``), or both, and with ``weight`` and/or
            ``act``: a dict updates the default, None is float. ``BUILT_IN`` rules come before them.
        trace (Trace): What the model ran, for the roles.

    Returns:
        list[LayerPlan]: In order of execution; layers that did not run come last. Layers that did
        not run, and those with a weight that is not theirs alone, are float, with the reason.

    Raises:
        QuantizationError: For an unknown key or role, or a rule whose name matches nothing.
    """
    _check(quantizer)
    rules = [*BUILT_IN, *(quantizer.get('rules') or [])]
    projections = attention_layers(model)
    names: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if quant_type_of(type(module)) is not None:
            names.setdefault(module, []).append(name)
    matched = [False] * len(rules)
    partners = weight_partners(model, {aliases[0]: module for module, aliases in names.items()})
    plans = []
    for module, aliases in names.items():
        chosen = {'weight': quantizer.get('weight'), 'act': quantizer.get('act')}
        reason = ''
        roles = roles_of(module, trace.layers.get(aliases[0]), module in projections)
        for index, rule in enumerate(rules):
            if not _applies(rule, aliases, roles):
                continue
            matched[index] = True
            reason = rule.get('reason') or f'rule {rule.get("name") or rule.get("role")}'
            for part in ('weight', 'act'):
                if part in rule:
                    chosen[part] = _merge(quantizer.get(part), rule[part])
        problem = _problem(aliases[0], module, trace, partners)
        if problem and any(chosen.values()):
            chosen, reason = {'weight': None, 'act': None}, problem
        plans.append(_plan(aliases[0], module, chosen, reason))
    _check_matched(rules, matched, names)
    order = {name: index for index, name in enumerate(trace.layers)}
    plans = sorted(plans, key=lambda plan: order.get(plan.name, len(order)))
    _share_weights(plans, dict(model.named_modules()), partners, trace)
    return plans


def _problem(
    name: str, module: nn.Module, trace: Trace, partners: dict[str, set[str]]
) -> str | None:
    """Why a layer has to stay float, or None."""
    if name not in trace.layers:
        used = '; other code uses its weight' if name in trace.used_outside else ''
        return NEVER_EXECUTED + used
    if name in trace.used_outside:
        others = ', '.join(sorted(partners.get(name, ())))
        shared = f'its weight is shared with {others}'
        return shared if others else 'its parameters are used outside of its forward'
    if name in trace.vectorized:
        return 'it runs inside of torch.vmap, where its values cannot be observed'
    if computed_weight(module) is None and not module.weight.is_floating_point():
        return f'its weight is {module.weight.dtype}, and only real numbers are quantized'
    if is_grouped_transposed(module):
        return f'a transposed convolution with groups={module.groups} has no quantized version'
    return computed_weight(module)


def _share_weights(
    plans: list[LayerPlan],
    modules: dict[str, nn.Module],
    partners: dict[str, set[str]],
    trace: Trace,
) -> None:
    """Layers that own one weight together get one scheme for it, or are float."""
    found = {plan.name: plan for plan in plans if plan.quantized}
    unused = {plan.name for plan in plans if plan.name not in trace.layers}
    for name in [name for name in found if name in partners]:
        plan, others = found[name], partners[name] - unused
        first = next(other for other in plans if other.name in {name, *others})
        alike = all(
            other in found
            and modules[other].weight is modules[name].weight
            and quant_type_of(type(modules[other])) is quant_type_of(type(modules[name]))
            for other in others
        )
        if not alike:
            plan.weight = plan.act = None
            plan.reason = f'its weight is shared with {", ".join(sorted(others))}'
        elif plan.weight != first.weight:
            plan.weight = first.weight
            plan.reason = f'weight as that of {first.name}, which shares it'


def _plan(name: str, module: nn.Module, chosen: dict, reason: str) -> LayerPlan:
    quant_type = quant_type_of(type(module))
    axes = {'weight': quant_type.weight_axis, 'act': quant_type.channel_axis}
    schemes = {
        part: None if cfg is None else QScheme.from_config(cfg, axes[part], f'quantizer.{part}')
        for part, cfg in chosen.items()
    }
    return LayerPlan(name, type(module).__name__, reason=reason, **schemes)


def is_grouped_transposed(module: nn.Module) -> bool:
    """Whether a layer is of a type that is quantized, and has no quantized version itself."""
    return getattr(module, 'transposed', False) and module.groups > 1


def _check(quantizer: dict) -> None:
    for key in quantizer:
        if key not in ('weight', 'act', 'rules', 'products'):
            raise QuantizationError(
                f"the quantizer config has an unknown key '{key}': use weight, act, rules or "
                'products'
            )
    for rule in quantizer.get('rules') or []:
        if not isinstance(rule, dict):
            raise QuantizationError(
                f'quantizer.rules holds {rule!r}, which is no dict: on the command line use '
                '--float NAME or --bits NAME=8 instead of --cfg-options'
            )
        unknown = [key for key in rule if key not in RULE_KEYS]
        if unknown:
            raise QuantizationError(
                f"rule {dict(rule)} has an unknown key '{unknown[0]}': use {', '.join(RULE_KEYS)}"
            )
        if 'name' not in rule and 'role' not in rule:
            raise QuantizationError(f'rule {dict(rule)} needs a name (glob) or a role')
        if 'role' in rule and rule['role'] not in ROLES:
            raise QuantizationError(
                f"rule {dict(rule)} has an unknown role '{rule['role']}': use {', '.join(ROLES)}"
            )


def _applies(rule: dict, aliases: list[str], roles: set[str]) -> bool:
    if 'role' in rule and rule['role'] not in roles:
        return False
    return 'name' not in rule or any(matches(alias, rule['name']) for alias in aliases)


def _merge(default: dict | None, change: dict | None) -> dict | None:
    return None if change is None else {**(default or {}), **change}


def _check_matched(rules: list[dict], matched: list[bool], names: dict) -> None:
    known = [alias for aliases in names.values() for alias in aliases]
    for rule, hit in zip(rules, matched, strict=True):
        # A rule by role is a preset: that a network has no such layer is fine.
        if hit or 'name' not in rule:
            continue
        if any(matches(name, rule['name']) for name in known):
            raise QuantizationError(
                f"no layer of quantizer rule name '{rule['name']}' has the role '{rule['role']}': "
                'drop the name or the role'
            )
        raise no_match(rule['name'], known, 'quantizer rule name')

"""A model's own policy: what every scheme and recipe needs to know of this model."""

import inspect
from collections.abc import Mapping
from typing import Any

from mmengine.registry import TASK_UTILS

from mmptq.utils.errors import QuantizationError

POLICY_KEYS = ('rules', 'units', 'calibration')


def apply_policy(cfg: Any) -> None:
    """Merges the ``ptq`` of a config into its scheme, recipe and calibration settings.

    A model's float config holds what is true of the model whatever the scheme and the recipe::

        ptq = dict(
            rules=[dict(name='lane_head.mask_head.*', weight=None, act=None)],
            units=[dict(name='lane_head', granularity='layer')],
            calibration=dict(num_samples=56),
        )

    - ``rules`` come after those of the scheme. A rule may hold ``max_bits``: it is left out where
      the scheme has more bits for weights than that.
    - ``units`` are given to every stage that takes ``units``, before the stage's own.
    - ``calibration`` has defaults: what the config says in ``calibration`` stays.

    Args:
        cfg (Config | dict): Changed in place. ``ptq`` is removed, so that the config that a run
            keeps holds each setting once and a second call changes nothing.

    Raises:
        QuantizationError: If the policy has an unknown key, or a value of the wrong type.
    """
    policy = cfg.pop('ptq', None)
    if not policy:
        return
    _check(policy)
    quantizer = cfg.get('quantizer')
    if quantizer and policy.get('rules'):
        quantizer['rules'] = [*(quantizer.get('rules') or []), *_rules(policy, quantizer)]
    for stage in cfg.get('stages') or []:
        if policy.get('units') and _takes_units(stage):
            stage['units'] = [*policy['units'], *(stage.get('units') or [])]
    if policy.get('calibration'):
        cfg['calibration'] = {**policy['calibration'], **(cfg.get('calibration') or {})}


def _check(policy: Any) -> None:
    if not isinstance(policy, Mapping):
        raise QuantizationError(
            f'ptq={policy!r} is no policy: use ptq=dict(...) with {", ".join(POLICY_KEYS)}, or None'
        )
    for key, value in policy.items():
        if key not in POLICY_KEYS:
            raise QuantizationError(f"ptq has an unknown key '{key}': use {', '.join(POLICY_KEYS)}")
        kind = Mapping if key == 'calibration' else list | tuple
        if value is not None and not isinstance(value, kind):
            raise QuantizationError(
                f'ptq.{key}={value!r}: use a {"dict" if kind is Mapping else "list"}'
            )
    for rule in policy.get('rules') or []:
        if not isinstance(rule, Mapping):
            raise QuantizationError(f'ptq.rules holds {rule!r}: a rule is a dict(name=..., ...)')


def _rules(policy: Mapping, quantizer: Mapping) -> list[dict[str, Any]]:
    """The rules that hold for a scheme, without the conditions."""
    bits = (quantizer.get('weight') or {}).get('bits', 0)
    rules = [rule for rule in policy['rules'] if bits <= rule.get('max_bits', bits)]
    return [{key: value for key, value in rule.items() if key != 'max_bits'} for rule in rules]


def _takes_units(stage: Mapping) -> bool:
    kind = stage.get('type')
    if isinstance(kind, str):
        kind = TASK_UTILS.get(kind)
    return kind is not None and 'units' in inspect.signature(kind).parameters

"""What the recipe that finds its own remedies asks of the rest of a config."""

from typing import Any

# Calibration samples, at most, where the config and the model's policy say nothing: the search
# passes over them several times.
DEFAULT_SAMPLES = 64


def tunes_itself(stages: Any) -> bool:
    """Whether a recipe chooses remedies by itself."""
    kinds = [
        stage.get('type') if isinstance(stage, dict) else type(stage) for stage in stages or ()
    ]
    return any((k if isinstance(k, str) else k.__name__) == 'AutoTuner' for k in kinds)


def prepare_auto(cfg: Any) -> None:
    """Set the defaults of a config whose recipe chooses remedies by itself; others stay.

    A policy may give one scale per channel to layer inputs. Where the backend has none, the rule
    loses this field: channel multipliers do the same in every engine.

    Args:
        cfg (Config): With scheme, recipe, backend and policy; changed in place.
    """
    if not tunes_itself(cfg.get('stages')):
        return
    cfg.calibration = dict(dict(default_samples=DEFAULT_SAMPLES), **(cfg.get('calibration') or {}))
    backend = cfg.get('backend')
    if not backend or backend.get('per_channel_act'):
        return
    for entry in (cfg.quantizer, *(cfg.quantizer.get('rules') or ())):
        if entry.get('act'):
            entry['act'].pop('per_channel', None)

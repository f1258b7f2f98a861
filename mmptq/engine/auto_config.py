"""What the recipe that finds its own remedies asks of the rest of a config."""

from typing import Any

from mmptq.ptq.remedies.auto_tuner import REMEDIES

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
    keep_what_was_asked(cfg.stages)
    cfg.calibration = dict(dict(default_samples=DEFAULT_SAMPLES), **(cfg.get('calibration') or {}))
    backend = cfg.get('backend')
    if not backend or backend.get('per_channel_act'):
        return
    for entry in (cfg.quantizer, *(cfg.quantizer.get('rules') or ())):
        if entry.get('act'):
            entry['act'].pop('per_channel', None)


def keep_what_was_asked(stages: Any) -> None:
    """Leave out remedies that a budget, or a stage that needs the float model, rules out."""
    kinds = {stage.get('type') for stage in stages}
    left_out = {'more_bits'} if 'BitAllocation' in kinds else set()
    left_out |= {'biases'} if 'AccuracyControl' in kinds else set()
    for stage in stages:
        if left_out and stage.get('type') == 'AutoTuner':
            stage['remedies'] = [x for x in stage.get('remedies') or REMEDIES if x not in left_out]

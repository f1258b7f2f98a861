"""Building the stages of a recipe, and refusing orders that cannot work."""

from collections.abc import Iterable
from typing import Any

from mmengine.registry import TASK_UTILS
from torch import nn

from mmptq.adapters import build_adapter
from mmptq.ptq.context import PTQContext
from mmptq.quantization import QuantizationError
from mmptq.utils.messages import first_line

from .stage import ADAPTER, FLOAT_MODEL, RANGES, UNLEARNED, Stage

# What a stage needs, as the object of a sentence.
WORDS = {RANGES: 'calibrated ranges', FLOAT_MODEL: 'the float model'}


def build_stages(configs: Iterable[dict[str, Any] | Any]) -> list[Any]:
    """The stages of a recipe in order, built from configs and checked.

    Args:
        configs (Iterable): Configs of stages of TASK_UTILS; objects with ``run(ctx)`` stay as
            they are.

    Raises:
        QuantizationError: If a stage is unknown, or the order cannot work.
    """
    stages = [_build(cfg) for cfg in configs]
    check_order(stages)
    return stages


def _build(cfg: dict[str, Any] | Any) -> Any:
    if isinstance(cfg, str):
        raise QuantizationError(f"stages holds '{cfg}': write dict(type='{cfg}')")
    if not isinstance(cfg, dict):
        stage, kind = cfg, type(cfg).__name__
    else:
        kind = cfg.get('type')
        if kind is None or TASK_UTILS.get(kind) is None:
            raise QuantizationError(f"there is no stage '{kind}': check stages in the config")
        try:
            stage = TASK_UTILS.build(cfg)
        except TypeError as error:
            raise QuantizationError(
                f"stage '{kind}' does not take these arguments ({first_line(error)}): check stages "
                'in the config'
            ) from error
    if not callable(getattr(stage, 'run', None)):
        raise QuantizationError(f"'{kind}' is not a stage, it has no run(ctx): check stages")
    return stage


def check_order(stages: list[Any]) -> None:
    """Refuse an order in which a stage lacks what it needs.

    Raises:
        QuantizationError: Names both stages and the right order.
    """
    if not stages:
        raise QuantizationError("the recipe has no stage: add dict(type='Calibrator') to stages")
    # What holds, and since which stage.
    given: dict[str, Any] = dict.fromkeys([FLOAT_MODEL, UNLEARNED])
    broken: dict[str, tuple[Any, Any]] = {}  # what does not: by which stage, and who gave it
    for index, stage in enumerate(stages):
        for fact in sorted(set(stage_facts(stage, 'needs')) - {ADAPTER}):
            if fact not in given:
                raise QuantizationError(_problem(stage, fact, broken, stages[index + 1 :]))
        for fact in stage_facts(stage, 'breaks'):
            if fact in given:
                broken[fact] = stage, given.pop(fact)
        for fact in stage_facts(stage, 'gives'):
            given.setdefault(fact, stage)
    if RANGES not in given:
        if RANGES in broken:
            raise QuantizationError(_stale(*broken[RANGES]))
        raise QuantizationError(
            "no stage of the recipe calibrates: add dict(type='Calibrator') to stages"
        )


def stage_facts(stage: Any, attribute: str) -> Iterable[str]:
    """What a stage needs, gives or breaks; one without a contract may calibrate."""
    unknown = (RANGES,) if attribute == 'gives' and not isinstance(stage, Stage) else ()
    return getattr(stage, attribute, unknown)


def check_stages(stages: list[Any], ctx: PTQContext) -> None:
    """Let every stage look at the model and the plan before any work.

    Raises:
        QuantizationError: See ``Stage.check``.
    """
    for stage in stages:
        if isinstance(stage, Stage):
            stage.check(ctx)


def check_adapter(stages: list[Any], model: nn.Module) -> None:
    """Refuse a model whose head outputs a stage needs and no adapter reads.

    Raises:
        QuantizationError: Names the stage and the fix.
    """
    for stage in stages:
        if ADAPTER in stage_facts(stage, 'needs'):
            try:
                build_adapter(model)
            except QuantizationError as error:
                raise QuantizationError(
                    f'{_name(stage)} compares the outputs of a detector head, and {error}; or '
                    'choose a recipe without it, such as mse, adaround or qdrop'
                ) from error


def _problem(stage: Any, fact: str, broken: dict[str, tuple], later: list[Any]) -> str:
    name, what = _name(stage), WORDS.get(fact, fact)
    if fact not in broken:
        makers = [_name(other) for other in later if fact in stage_facts(other, 'gives')]
        if makers:
            return f'{name} needs {what}: put {makers[0]} before {name}'
        maker = 'Calibrator' if fact == RANGES else f'a stage that gives {fact}'
        return f'{name} needs {what}, and no stage before it gives them: put {maker} before {name}'
    breaker, giver = broken[fact]
    if fact == RANGES and giver is not None:
        return _stale(breaker, giver)
    other = _name(breaker)
    if fact == UNLEARNED:
        return f'{name} would undo what {other} learned: put {name} before {other}'
    if other == name:
        return f'{name} needs {what}, which the {name} before it changes: use {name} once'
    return f'{name} needs {what}, which {other} changes: put {name} before {other}'


def _stale(breaker: Any, giver: Any) -> str:
    first, second = _name(breaker), _name(giver)
    if RANGES in stage_facts(breaker, 'needs'):
        return f'{first} makes the ranges that {second} found stale: put {second} after {first} too'
    return f'{first} makes the ranges that {second} found stale: put {first} before {second}'


def _name(stage: Any) -> str:
    return type(stage).__name__

"""Budgets and targets on the command line, which become stages of the recipe."""

import argparse
from typing import Any

from mmengine.config import Config
from mmengine.registry import TASK_UTILS

from mmptq.ptq.stages import RANGES
from mmptq.ptq.stages.recipe import stage_facts
from mmptq.quantization import QuantizationError

# Argument to the option of BitAllocation.
BUDGETS = dict(
    average_bits='--average-bits',
    average_act_bits='--average-act-bits',
    size='--size',
    bit_ops='--bit-ops',
)


def add_budget_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that choose bits by a budget or by the metric."""
    group = parser.add_argument_group('bits of each layer')
    group.add_argument(
        '--average-bits', metavar='BITS', help='mean width of weights: 5; layers get 2 to 8 bits'
    )
    group.add_argument('--average-act-bits', metavar='BITS', help='mean width of layer inputs')
    group.add_argument('--size', help="size of the checkpoint's tensors: 4MB, or 15%% of float")
    group.add_argument('--bit-ops', help='bit operations: 50%% of those with 8 bits, or 150G')
    group.add_argument(
        '--max-drop',
        type=float,
        metavar='DROP',
        help='keep the fewest layers at 16 bits so that the metric falls by less: 0.005',
    )
    group.add_argument('--metric', metavar='KEY', help='metric of --max-drop: coco/bbox_mAP_50')
    group.add_argument('--scores', metavar='FILE', help='layer_scores.json of another run')


def add_budget_stages(cfg: Config, args: argparse.Namespace) -> None:
    """Put the stages of the arguments into the recipe, in place.

    ``BitAllocation`` comes before the first stage that calibrates, ``AccuracyControl`` last.

    Raises:
        QuantizationError: If there is no recipe, or the arguments contradict each other.
    """
    budgets = {key: getattr(args, key, None) for key in BUDGETS}
    budgets = {key: value for key, value in budgets.items() if value is not None}
    max_drop, scores = getattr(args, 'max_drop', None), getattr(args, 'scores', None)
    shared = {} if scores is None else dict(scores=scores)
    if getattr(args, 'metric', None) and max_drop is None:
        raise QuantizationError('--metric is for --max-drop: give both')
    if scores and max_drop is None and not budgets:
        raise QuantizationError('--scores is for --average-bits, --size, --bit-ops or --max-drop')
    if budgets and max_drop is not None:
        raise QuantizationError(
            f'--max-drop gives layers 16 bits, which breaks {BUDGETS[next(iter(budgets))]}: give '
            'one of the two'
        )
    if not budgets and max_drop is None:
        return
    option = BUDGETS[next(iter(budgets))] if budgets else '--max-drop'
    if not cfg.get('stages'):
        raise QuantizationError(f'{option} adds a stage to a recipe: name one with --recipe')
    if budgets:
        stage = dict(type='BitAllocation', **budgets, **shared)
        fixed = [entry.rpartition('=')[0] for entry in getattr(args, 'bits', None) or []]
        if fixed:
            stage['fixed'] = fixed
        cfg.stages = with_allocation(list(cfg.stages), stage)
    else:
        stage = dict(type='AccuracyControl', max_drop=max_drop, metric=args.metric, **shared)
        cfg.stages = [*cfg.stages, stage]


def with_allocation(stages: list[Any], stage: dict[str, Any]) -> list[Any]:
    """The recipe with a ``BitAllocation`` before the first stage that calibrates.

    Args:
        stages (list): Configs of stages.
        stage (dict): Config of the allocation.
    """
    kinds = [TASK_UTILS.get(s.get('type')) if isinstance(s, dict) else s for s in stages]
    place = next((i for i, kind in enumerate(kinds) if RANGES in stage_facts(kind, 'gives')), 0)
    return [*stages[:place], stage, *stages[place:]]

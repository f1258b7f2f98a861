"""A warning where quantization cost too much, with the command that mends it."""

from typing import Any

from mmptq.evaluation.resampling import interval_of, is_noise
from mmptq.ptq.context import PTQContext
from mmptq.report import find_record, main_metric
from mmptq.utils.metrics import is_number

from .auto_config import tunes_itself

# A metric may fall by this share.
LARGEST_DROP = 0.01
SHOWN = 3


def warn_of_drop(ctx: PTQContext, stages: list[Any], before: dict, after: dict) -> None:
    """Warn where the main metric fell by more than 1 %.

    Args:
        ctx (PTQContext): At the end of its run.
        stages (list): The recipe.
        before (dict): Metrics of the float model.
        after (dict): Metrics of the quantized model.
    """
    numbers = {key: value for key, value in before.items() if is_number(value)}
    if not numbers:
        return
    name = main_metric(numbers)
    if not is_number(after.get(name)):
        if after:
            ctx.logger.warning(f'{name} of the quantized model is {after.get(name)}, no number')
        return
    drop = (numbers[name] - after[name]) / abs(numbers[name]) if numbers[name] else 0.0
    if drop <= LARGEST_DROP:
        return
    text = f'{name} fell by {drop:.1%}, from {numbers[name]:.4f} to {after[name]:.4f}'
    row = interval_of(find_record(ctx.work_dir, 'intervals'))
    if row is not None and is_noise(row):
        text += f', within noise (the difference lies in [{row["low"]:+.4f}, {row["high"]:+.4f}])'
    ctx.logger.warning(f'{text}: {_mend(ctx, stages)}')


def _mend(ctx: PTQContext, stages: list[Any]) -> str:
    if not tunes_itself(stages):
        return (
            'leave out --scheme and --recipe, or use --recipe auto, which finds the layers that '
            'cost most and mends them'
        )
    rows = find_record(ctx.work_dir, 'diagnosis') or []
    rows = [row for row in rows if row.get('layer') in ctx.layers]
    worst = sorted(rows, key=lambda row: -(row.get('output_loss') or 0.0))[:SHOWN]
    if not worst:
        return 'use a recipe that learns, such as --recipe brecq'
    names = ' '.join(f"'{row['layer']}'" for row in worst)
    causes = ', '.join(
        f"'{row['layer']}' ({row.get('cause') or 'no single cause'})" for row in worst
    )
    return f'the layers that cost most are {causes}; add --float {names}'

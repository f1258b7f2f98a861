"""What a PTQ run says about itself in the end: intervals, score shift, and report.html."""

import time
from collections.abc import Callable
from typing import Any

from mmengine.runner import Runner

from mmptq.evaluation.score_shift import shift_text
from mmptq.ptq import parallel
from mmptq.ptq.checks.input_ranges import input_ranges
from mmptq.ptq.context import PTQContext
from mmptq.report.page import run_content, write_page
from mmptq.report.verdict import verdict
from mmptq.utils.messages import first_line

from .changed_samples import changed_samples
from .evaluation_record import EvaluationPair
from .sample_file import save_samples

REPORT_FILE = 'report.html'


def report_run(ctx: PTQContext, pair: EvaluationPair, runner: Runner) -> None:
    """Compare the evaluations of both models sample by sample, and write the page of the run.

    What cannot be found out is left out with a line that says why; nothing here stops a run.

    Args:
        ctx (PTQContext): After the run, with its result recorded.
        pair (EvaluationPair): Evaluations of the float and the quantized model.
        runner (Runner): Has the evaluation set.
    """
    if not parallel.is_main():
        return
    start = time.perf_counter()
    result = next(row['rows'] for row in ctx.run_record.records if row['kind'] == 'result')
    if result['quantized']:
        _attempt(ctx, 'intervals', lambda: _compare(ctx, pair, result))
    _attempt(ctx, 'ranges of layer inputs', lambda: ctx.record('input_ranges', input_ranges(ctx)))
    if pair.second is not None:
        _attempt(ctx, 'samples', lambda: save_samples(pair.second, ctx.work_dir))
    ctx.checks.append(dict(check='report', seconds=time.perf_counter() - start))
    ctx.record('checks', ctx.checks)
    _attempt(ctx, REPORT_FILE, lambda: _write(ctx, pair, runner))


def _attempt(ctx: PTQContext, what: str, function: Callable[[], Any]) -> None:
    try:
        function()
    except Exception as error:  # a report never stops a run
        ctx.logger.warning(f'the report has no {what} ({first_line(error)})')


def _compare(ctx: PTQContext, pair: EvaluationPair, result: dict[str, Any]) -> None:
    intervals = pair.intervals()
    ctx.record('intervals', intervals)
    line = verdict(result, intervals)['text']
    if 'reason' in intervals:
        line += f' (no interval: {intervals["reason"]})'
    ctx.logger.info(line)
    shift = pair.shift()
    if shift is not None:
        ctx.record('score_shift', shift)
        ctx.logger.info(shift_text(shift))


def _write(ctx: PTQContext, pair: EvaluationPair, runner: Runner) -> None:
    samples, note = [], 'No predictions were kept of both models.'
    if pair.has_predictions:
        predictions = pair.first.predictions, pair.second.predictions
        samples, note = changed_samples(*predictions, lambda: runner.val_dataloader.dataset)
    path = ctx.work_dir / REPORT_FILE
    content = run_content(
        ctx.run_record.content(), ctx.work_dir, samples=samples, samples_note=note
    )
    write_page(path, content)
    ctx.logger.info(f'report: {path}')

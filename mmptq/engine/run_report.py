"""What a PTQ run says about itself in the end: intervals and score shift."""

from mmptq.evaluation.score_shift import shift_text
from mmptq.ptq import parallel
from mmptq.ptq.context import PTQContext
from mmptq.report.verdict import verdict

from .evaluation_record import EvaluationPair


def report_run(ctx: PTQContext, evaluations: EvaluationPair) -> None:
    """Compare the evaluations of both models sample by sample; log and record what comes out.

    Args:
        ctx (PTQContext): After the run, with its result recorded.
        evaluations (EvaluationPair): Of the float and the quantized model.
    """
    if not parallel.is_main():
        return
    result = next(row['rows'] for row in ctx.run_record.records if row['kind'] == 'result')
    if not result['quantized']:
        return
    intervals = evaluations.intervals()
    ctx.record('intervals', intervals)
    line = verdict(result, intervals)['text']
    if 'reason' in intervals:
        line += f' (no interval: {intervals["reason"]})'
    ctx.logger.info(line)
    shift = evaluations.shift()
    if shift is not None:
        ctx.record('score_shift', shift)
        ctx.logger.info(shift_text(shift))

"""What the evaluations of a run left of each sample, and what they say about its models."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from mmengine.runner import Runner

from mmptq.evaluation.predictions import Predictions
from mmptq.evaluation.resampling import RESAMPLES, paired_intervals, resampled_metric
from mmptq.evaluation.resampling.nuscenes_table import nuscenes_boxes
from mmptq.evaluation.resampling.paired_bootstrap import ResampledMetric
from mmptq.evaluation.score_shift import score_shift, usual_threshold
from mmptq.ptq import parallel
from mmptq.utils.messages import first_line
from mmptq.utils.metrics import is_number, main_metric, plain_metrics

from .sample_recorder import (
    Computed,
    PredictionRecorder,
    added_metric,
    exchange_folder,
    kept_results,
)

# How far a value computed again may be from the metric's own, which may be rounded.
TOLERANCE = 0.002
# Evaluations that are kept, and that of the float model.
MOST_KEPT = 6


@dataclass
class Evaluated:
    """One evaluation.

    Attributes:
        metrics (dict): Values by name, with prefixes.
        main (str): Name of the value that stands for the model; '' for none.
        prefix (str): What stands in front of the names of its metric.
        table (ResampledMetric, optional): Its metric on resampled sets.
        method (str): How the table comes to its values, or why there is none.
        predictions (list[Predictions], optional): Of each sample, in the order of the set.
    """

    metrics: dict[str, Any]
    main: str = ''
    prefix: str = ''
    table: ResampledMetric | None = None
    method: str = ''
    predictions: list[Predictions] | None = None


class EvaluationRecord:
    """Keeps the last evaluations of a runner, in the main process; their metrics stay the same.

    Args:
        runner (Runner): With a val loop, or without one: then nothing is kept.
        enabled (bool): False keeps nothing. Defaults to True.
    """

    def __init__(self, runner: Runner, enabled: bool = True):
        self.runner = runner
        self.enabled = enabled
        self._float: tuple[dict, Evaluated] | None = None
        self._recent: list[tuple[dict, Evaluated]] = []

    def evaluate(
        self, run: Callable[[int | None], dict[str, Any]], num_batches: int | None = None
    ) -> dict[str, Any]:
        """What ``run`` gives; an evaluation of the whole set is kept.

        Args:
            run (Callable): Takes a number of batches or None, returns metrics.
            num_batches (int, optional): Only the first ones. Defaults to all.
        """
        loop = self.runner.val_loop if self.enabled and num_batches is None else None
        evaluator = getattr(loop, 'evaluator', None)
        if not isinstance(getattr(evaluator, 'metrics', None), list):
            return run(num_batches)
        recorder = PredictionRecorder(
            len(loop.dataloader.dataset), exchange_folder(self.runner.work_dir)
        )
        with ExitStack() as stack:
            kept = stack.enter_context(kept_results(evaluator))
            stack.enter_context(added_metric(evaluator, recorder))
            boxes = stack.enter_context(nuscenes_boxes())
            metrics = run(None)
        if kept and parallel.is_main():
            evaluated = _evaluated(kept, boxes, recorder.predictions)
            self._float = self._float or (metrics, evaluated)
            self._recent = [*self._recent[1 - MOST_KEPT :], (metrics, evaluated)]
        return metrics

    def between(self, before: dict[str, Any], after: dict[str, Any]) -> 'EvaluationPair':
        """Two evaluations, by the metrics that they returned (the same objects).

        Args:
            before (dict): Of the float model.
            after (dict): Of the quantized model.
        """
        known = [*self._recent, *([self._float] if self._float else [])]
        found = [
            next((kept for metrics, kept in known if metrics is wanted), None)
            for wanted in (before, after)
        ]
        return EvaluationPair(*found)


@dataclass
class EvaluationPair:
    """Evaluations of two models on the same samples.

    Attributes:
        first (Evaluated, optional): Of the float model; None where it was not kept.
        second (Evaluated, optional): Of the quantized model.
        names (tuple[str, str]): Of the two models.
    """

    first: Evaluated | None
    second: Evaluated | None
    names: tuple[str, str] = ('float', 'quantized')

    def intervals(self) -> dict[str, Any]:
        """Paired bootstrap intervals of the main metric.

        Returns:
            dict: ``metric`` (full name of the main one), ``method`` and what ``paired_intervals``
            returns, with full names in ``rows`` and those of classes apart, in ``classes``; or only
            ``metric`` and ``reason``, why there is none.
        """
        one, other = self.first, self.second
        if one is None or other is None:
            name = self.names[one is not None]
            return dict(metric='', reason=f'no evaluation of the {name} model was kept')
        if one.table is None or other.table is None:
            return dict(metric=one.main, reason=(one if one.table is None else other).method)
        try:
            found = paired_intervals(one.table, other.table, RESAMPLES)
            return _named(found, one, other)
        except Exception as error:  # of any metric; the run goes on without intervals
            return dict(metric=one.main, reason=_reason(error))

    def shift(self) -> dict[str, Any] | None:
        """Score shift of matched detections: see ``score_shift``; None without predictions."""
        if not self.has_predictions:
            return None
        samples = self.first.predictions, self.second.predictions
        return score_shift(*samples, usual_threshold(samples[0]))

    @property
    def has_predictions(self) -> bool:
        """Whether both evaluations kept predictions of the same number of samples."""
        both = [found.predictions if found else None for found in (self.first, self.second)]
        return all(both) and len(both[0]) == len(both[1])


def _evaluated(
    kept: list[Computed], boxes: list, predictions: list[Predictions] | None
) -> Evaluated:
    metrics, owners = {}, {}
    for computed in kept:
        prefix = computed.metric.prefix
        for name, value in plain_metrics(computed.values).items():
            full = f'{prefix}/{name}' if prefix else name
            metrics[full], owners[full] = value, computed
    found = Evaluated(metrics, predictions=predictions)
    if not any(map(is_number, metrics.values())):
        found.method = 'the evaluation gave no number'
        return found
    found.main = main_metric(metrics)
    owner = owners[found.main]
    found.prefix = f'{owner.metric.prefix}/' if owner.metric.prefix else ''
    try:
        name = found.main.removeprefix(found.prefix)
        found.table, found.method = resampled_metric(owner.metric, owner.results, name, boxes)
    except Exception as error:  # of any metric; the run goes on without intervals
        found.method = _reason(error)
    return found


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, ValueError) else first_line(error)


def _named(found: dict[str, Any], one: Evaluated, other: Evaluated) -> dict[str, Any]:
    """Intervals with full names; none where they do not belong to the values of the metric."""
    rows, classes = [], []
    for row in found.pop('rows'):
        is_class = row['name'].startswith('class/')
        name = row['name'].removeprefix('class/') if is_class else one.prefix + row['name']
        (classes if is_class else rows).append(dict(row, name=name))
    main = next((row for row in rows if row['name'] == one.main), None)
    if main is None:
        return dict(metric=one.main, reason=f"'{one.main}' cannot be computed for resampled sets")
    for key, evaluated in (('first', one), ('second', other)):
        own = evaluated.metrics[one.main]
        if abs(main[key] - own) > TOLERANCE * max(1, abs(own)):
            text = f'{main[key]:.4f} computed from the samples is not the {own:.4f} of the metric'
            return dict(metric=one.main, reason=text)
    return dict(metric=one.main, method=one.method, **found, rows=rows, classes=classes)

"""Keeping what an evaluation sees of each sample, without changing its metrics."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.dist import get_world_size
from mmengine.evaluator import BaseMetric, Evaluator

from mmptq.evaluation.predictions import MOST_KEPT, Predictions, predictions_of

# Bytes that the predictions of one evaluation may take; larger sets keep fewer of each sample.
LIMIT = 256 * 2**20
_PREDICTION = 40
_FEWEST = 20


class PredictionRecorder(BaseMetric):
    """Keeps the predictions of every sample, as a metric without a value.

    mmengine collects its results as those of other metrics: from all processes, in the order of
    the evaluation set.

    Args:
        num_samples (int): Of the evaluation set.
        collect_dir (str, optional): Where several processes exchange results.

    Attributes:
        predictions (list[Predictions], optional): Of the whole set, in the main process, after the
            evaluation; None before, or where a sample could not be read.
    """

    default_prefix = 'samples'

    def __init__(self, num_samples: int, collect_dir: str | None = None):
        super().__init__(collect_dir=collect_dir)
        allowed = LIMIT // (_PREDICTION * max(1, num_samples))
        self.most = min(MOST_KEPT, max(_FEWEST, allowed))
        self.predictions: list[Predictions] | None = None

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the predictions of a batch."""
        for sample in data_samples:
            found = None
            with suppress(Exception):  # samples of user code may hold anything
                found = predictions_of(sample).first(self.most)
            self.results.append(found)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """No metrics."""
        self.predictions = None if any(found is None for found in results) else list(results)
        return {}


@dataclass
class Computed:
    """What one metric computed.

    Attributes:
        metric (BaseMetric): The metric.
        results (list): What it kept of each sample.
        values (dict): What it returned, without its prefix.
    """

    metric: BaseMetric
    results: list
    values: dict[str, Any]


@contextmanager
def added_metric(evaluator: Evaluator, metric: BaseMetric) -> Iterator[None]:
    """Within this context an evaluator has one more metric."""
    # First, because another one may change the samples. Evaluators of other classes may count
    # their metrics.
    place = 0 if type(evaluator) is Evaluator else len(evaluator.metrics)
    metric.dataset_meta = evaluator.dataset_meta
    evaluator.metrics.insert(place, metric)
    try:
        yield
    finally:
        evaluator.metrics.remove(metric)


@contextmanager
def kept_results(evaluator: Evaluator) -> Iterator[list[Computed]]:
    """Within this context what the metrics of an evaluator compute is kept in a list."""
    kept: list[Computed] = []
    changed = [metric for metric in evaluator.metrics if hasattr(metric, 'compute_metrics')]
    previous = [vars(metric).get('compute_metrics') for metric in changed]
    for metric in changed:
        metric.compute_metrics = partial(_keep, kept, metric, metric.compute_metrics)
    try:
        yield kept
    finally:
        for metric, own in zip(changed, previous, strict=True):
            del metric.compute_metrics
            if own is not None:
                metric.compute_metrics = own


def _keep(kept: list[Computed], metric: BaseMetric, compute: Callable, results: list) -> Any:
    values = compute(results)
    named = dict(values) if isinstance(values, Mapping) else {}
    kept.append(Computed(metric, list(results), named))
    return values


def exchange_folder(work_dir: str | Path) -> str | None:
    """Where several processes exchange predictions; None for one process."""
    return str(Path(work_dir) / 'results_of_samples') if get_world_size() > 1 else None

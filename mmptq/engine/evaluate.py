"""Metrics of a runner's model outside of its loops."""

import copy
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.runner import Runner

from mmptq.quantization import QuantizationError
from mmptq.utils.metrics import plain_metrics


def evaluate(runner: Runner, num_batches: int | None = None) -> dict[str, Any]:
    """Metrics of the model as it is now, by the val loop of the runner.

    Args:
        runner (Runner): With a val loop.
        num_batches (int, optional): Only the first batches. Defaults to all, through the stock
            loop with its hooks.

    Returns:
        dict: See ``plain_metrics``.
    """
    with named_files('val'):
        return _evaluate(runner, num_batches)


def _evaluate(runner: Runner, num_batches: int | None) -> dict[str, Any]:
    if num_batches is None:
        with accept_nothing(getattr(runner.val_loop, 'evaluator', None)):
            return plain_metrics(runner.val_loop.run())
    loader = runner.val_dataloader
    # Each process has every n-th sample, and the results are put in order again.
    own = math.ceil(num_batches / get_world_size())
    batches = islice(loader, own)
    if get_world_size() == 1:
        return evaluate_batches(runner, batches)
    size = min(num_batches * (loader.batch_size or 1), len(loader.dataset))
    return evaluate_batches(runner, batches, size)


@torch.no_grad()
def evaluate_batches(
    runner: Runner, batches: Iterable[Any], size: int | None = None
) -> dict[str, Any]:
    """Metrics on some batches of the val dataloader; they are not changed.

    Args:
        runner (Runner): With a val loop.
        batches (Iterable): Of this process.
        size (int, optional): Samples of all processes that count. Defaults to those of this one.
    """
    evaluator, count = runner.val_loop.evaluator, 0
    runner.model.eval()
    for data in batches:
        outputs = runner.model.val_step(copy.deepcopy(data))
        evaluator.process(data_samples=outputs, data_batch=data)
        count += len(outputs)
    with accept_nothing(evaluator):
        return plain_metrics(evaluator.evaluate(count if size is None else size))


def collect_in(evaluator: Any, folder: str | Path) -> None:
    """Let the metrics of an evaluator exchange results of several processes in a folder.

    mmengine's default is a folder '.dist_test' in the current one, which stays there.

    Args:
        evaluator (Evaluator): Its metrics may name a folder of their own.
        folder (str | Path): Shared by all processes. Nothing stays there.
    """
    if get_world_size() == 1:
        return
    for index, metric in enumerate(getattr(evaluator, 'metrics', ())):
        if getattr(metric, 'collect_device', None) == 'cpu' and metric.collect_dir is None:
            metric.collect_dir = str(Path(folder) / f'results_{index}')


@contextmanager
def named_files(name: str) -> Iterator[None]:
    """Within this context a file that is missing is named with the keys that lead to it.

    Args:
        name (str): 'val' or 'test'.

    Raises:
        QuantizationError: In place of the error of a missing file, of a worker process, too.
    """
    try:
        yield
    except FileNotFoundError as error:
        match = re.search(r"No such file or directory: '?(.+?)'?$", str(error).strip())
        if match is None:
            raise
        raise QuantizationError(
            f"file '{match[1]}' does not exist: check data_root, data_prefix and ann_file in "
            f'{name}_dataloader.dataset'
        ) from error


@contextmanager
def accept_nothing(evaluator: Any) -> Iterator[None]:
    """Within this context metrics may return nothing, or a number without a name.

    Args:
        evaluator (Evaluator): mmengine's asks every metric for a dict.
    """
    metrics = [m for m in getattr(evaluator, 'metrics', ()) if hasattr(m, 'compute_metrics')]
    previous = [vars(metric).get('compute_metrics') for metric in metrics]
    for metric in metrics:
        metric.compute_metrics = partial(_dict_of, metric.compute_metrics)
    try:
        yield
    finally:
        for metric, own in zip(metrics, previous, strict=True):
            del metric.compute_metrics
            if own is not None:
                metric.compute_metrics = own


def _dict_of(compute: Callable[[Any], Any], results: Any) -> Any:
    found = compute(results)
    if found is None:  # of a metric that only writes a file
        return {}
    return found if isinstance(found, Mapping) else {'metric': found}

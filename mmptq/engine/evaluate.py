"""Metrics of a runner's model outside of its loops."""

import copy
from collections.abc import Iterable
from itertools import islice
from typing import Any

import torch
from mmengine.runner import Runner


def evaluate(runner: Runner, num_batches: int | None = None) -> dict[str, float]:
    """Metrics of the model as it is now, by the val loop of the runner.

    Args:
        runner (Runner): With a val loop.
        num_batches (int, optional): Only the first batches. Defaults to all, through the stock
            loop with its hooks.
    """
    if num_batches is None:
        return runner.val_loop.run()
    return evaluate_batches(runner, islice(runner.val_dataloader, num_batches))


@torch.no_grad()
def evaluate_batches(runner: Runner, batches: Iterable[Any]) -> dict[str, float]:
    """Metrics on some batches of the val dataloader; they are not changed."""
    evaluator, count = runner.val_loop.evaluator, 0
    runner.model.eval()
    for data in batches:
        outputs = runner.model.val_step(copy.deepcopy(data))
        evaluator.process(data_samples=outputs, data_batch=data)
        count += len(outputs)
    return evaluator.evaluate(count)

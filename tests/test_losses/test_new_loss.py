"""The example of docs/development/add_loss.md: a loss on two heads, learned from alone."""

import pytest
import torch
from doc_examples import python_example, run_example
from reconstruction import toy_context

from mmptq.ptq import Reconstructor
from mmptq.quantization import quantizers_off

PAGE = 'docs/development/add_loss.md'


@pytest.fixture(scope='module')
def loss_class():
    return run_example(PAGE)['BalancedLoss']


def test_it_is_short():
    lines = [line for line in python_example(PAGE).splitlines() if line]
    assert len(lines) < 40


@torch.no_grad()
def head_errors(ctx) -> torch.Tensor:
    """Squared errors of scores and boxes over all samples."""
    errors = torch.zeros(2)
    for data in ctx.loader:
        pred = ctx.predict(data)
        with quantizers_off(ctx.model):
            target = ctx.predict(data)
        for index in range(2):
            levels = zip(pred[index], target[index], strict=True)
            errors[index] += sum((x - y).square().sum() for x, y in levels)
    return errors


def test_both_heads_come_closer_to_float(tmp_path, loss_class):
    ctx = toy_context(tmp_path)
    before = head_errors(ctx)
    Reconstructor(
        granularity='network',
        loss=None,
        task_loss=dict(type='BalancedLoss'),
        act_lr=2e-3,
        num_iters=60,
        batch_size=3,
    ).run(ctx)
    assert (head_errors(ctx) < 0.9 * before).all()

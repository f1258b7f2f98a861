"""What a Reconstructor refuses when it is built."""

import pytest

from mmptq.ptq import Reconstructor
from mmptq.quantization import QuantizationError


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(granularity='stage'), "granularity='stage'"),
        (dict(drop_prob=1.5), 'drop_prob=1.5'),
        (dict(num_iters=0), 'num_iters=0'),
        (dict(num_samples=0), 'num_samples=0'),
        (dict(rounding=dict(type='Up')), "rounding.type='Up' is unknown"),
        (dict(rounding=dict(type='AdaRound', warmup=2)), 'warmup=2'),
        (dict(rounding=dict(type='Calibrator')), 'use a subclass of .*WeightRounding'),
        (dict(loss=None), r'loss=None and no task_loss: set task_loss=dict\('),
        (dict(task_loss=dict(type='LpLoss')), 'use a subclass of .*TaskLoss'),
        (
            dict(
                loss=None,
                task_loss=dict(type='DetectionOutputLoss'),
                importance=dict(type='FisherImportance'),
            ),
            'importance and loss=None',
        ),
        (dict(loss=dict(type='Nope')), "loss.type='Nope' is unknown"),
        (dict(task_loss=dict(type='Nope')), "task_loss.type='Nope' is unknown"),
        (dict(importance=dict(type='Nope')), "importance.type='Nope' is unknown"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(QuantizationError, match=message):
        Reconstructor(**options)

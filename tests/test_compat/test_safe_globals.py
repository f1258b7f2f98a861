import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import Runner
from torch import nn

import mmptq  # noqa: F401  (registers the safe types)
from mmptq.compat.safe_globals import _known_method


class TinyModel(nn.Module):
    """One parameter and the interface that the runner calls."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def train_step(self, data, optim_wrapper):
        loss = (self.weight * data).sum()
        optim_wrapper.update_params(loss)
        return {'loss': loss}

    def forward(self, data):
        return data


SCHEDULES = [
    dict(type='MultiStepLR', milestones=[1]),
    dict(type='OneCycleLR', eta_max=0.1, total_steps=2, by_epoch=False),
    dict(type='CosineAnnealingLR', T_max=1),
]


@pytest.fixture(params=SCHEDULES, ids=lambda schedule: schedule['type'])
def training_checkpoint(request, tmp_path):
    """A checkpoint written by mmengine's own training loop."""
    runner = Runner(
        model=TinyModel(),
        work_dir=str(tmp_path),
        train_dataloader=dict(
            dataset=[torch.ones(2), torch.zeros(2)],
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
            batch_size=1,
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1)),
        param_scheduler=request.param,
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1)),
        experiment_name=tmp_path.name,
    )
    runner.message_hub.update_info('array', np.arange(3))
    runner.message_hub.update_info('number', np.float32(1.5))
    runner.train()
    return tmp_path / 'epoch_1.pth'


def test_training_checkpoint_loads(training_checkpoint):
    checkpoint = torch.load(training_checkpoint, weights_only=True)
    assert checkpoint['state_dict']['weight'].shape == (2,)
    scalars = checkpoint['message_hub']['log_scalars']
    assert isinstance(scalars['train/loss'], HistoryBuffer)
    assert scalars['train/loss'].current() == pytest.approx(0.0)
    assert scalars['train/loss'].statistics('max') == pytest.approx(2.0)
    assert checkpoint['message_hub']['runtime_info']['array'].tolist() == [0, 1, 2]
    assert checkpoint['message_hub']['runtime_info']['number'] == 1.5


def test_it_would_not_load_otherwise(training_checkpoint):
    safe = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        with pytest.raises(pickle.UnpicklingError):
            torch.load(training_checkpoint, weights_only=True)
    finally:
        torch.serialization.add_safe_globals(safe)


class Malicious:
    """Runs a function with arguments when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    'attack',
    [
        lambda path: Malicious(os.mkdir, path),
        lambda path: Malicious(eval, f'__import__("os").mkdir({path!r})'),
        lambda path: Malicious(getattr, HistoryBuffer, 'register_statistics'),
        lambda path: Malicious(getattr, HistoryBuffer, '__init__'),
        lambda path: Malicious(getattr, np.ndarray, 'tofile'),
    ],
    ids=['function', 'eval', 'getattr-other', 'getattr-dunder', 'getattr-array'],
)
def test_code_in_a_checkpoint_is_refused(tmp_path, attack):
    target = str(tmp_path / 'made_by_the_checkpoint')
    torch.save({'state_dict': {}, 'meta': attack(target)}, tmp_path / 'bad.pth')
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / 'bad.pth', weights_only=True)
    assert not os.path.exists(target)


def test_only_statistics_of_the_history_are_reached():
    assert _known_method(HistoryBuffer, 'mean') is HistoryBuffer.mean
    for owner, name in [(HistoryBuffer, '__init__'), (np.ndarray, 'min'), (os, 'system')]:
        with pytest.raises(pickle.UnpicklingError, match='not loaded'):
            _known_method(owner, name)

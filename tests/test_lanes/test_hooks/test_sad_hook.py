"""SADHook in a real training loop."""

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

import mmptq  # noqa: F401 (registers the hook)


class Distilled(BaseModel):
    """Records at which iterations distillation is enabled."""

    def __init__(self, with_distillation=True):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.distillation = nn.Identity() if with_distillation else None
        if with_distillation:
            self.distillation.enabled = False
        self.seen = []

    def forward(self, inputs, mode='tensor'):
        self.seen.append(self.distillation.enabled)
        return dict(loss=self.layer(inputs).sum())


def train(model, tmp_path, begin, **changes):
    runner = Runner(
        model,
        str(tmp_path),
        train_dataloader=DataLoader(
            [torch.ones(1)] * 6, collate_fn=lambda items: dict(inputs=torch.stack(items))
        ),
        train_cfg=dict(by_epoch=False, max_iters=5, **changes),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        custom_hooks=[dict(type='SADHook', begin=begin)],
        default_hooks=dict(checkpoint=None, logger=None),
        experiment_name=f'sad_{tmp_path.name}',
    )
    runner.train()
    return model.seen


def test_it_switches_on_at_its_iteration(tmp_path):
    assert train(Distilled(), tmp_path, begin=3) == [False, False, False, True, True]


def test_from_the_start(tmp_path):
    assert train(Distilled(), tmp_path, begin=0) == [True] * 5


def test_a_model_without_distillation_is_refused(tmp_path):
    with pytest.raises(ValueError, match='needs a distillation loss'):
        train(Distilled(with_distillation=False), tmp_path, begin=3)


def test_it_does_not_begin_before_the_training():
    from mmptq.lanes.hooks import SADHook

    with pytest.raises(ValueError, match='at least 0, got'):
        SADHook(begin=-1)

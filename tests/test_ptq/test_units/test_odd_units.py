"""A unit is learned whatever it takes and returns, or left alone with the reason."""

import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mmptq
from mmptq.report import read_record

STAGES = [
    dict(type='Calibrator'),
    dict(type='Reconstructor', num_iters=40, batch_size=2, act_lr=1e-3),
]


@dataclass
class Found:
    map: Tensor
    rest: Any = None


class Named(OrderedDict):
    def __getattr__(self, key):
        return self[key]


class Holder:
    def __init__(self, map):
        self.map = map


class BasicBlock(nn.Module):
    """A block by its name; ``wrap`` is what it takes and returns."""

    def __init__(self, wrap):
        super().__init__()
        self.first, self.second, self.wrap = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1), wrap

    def forward(self, x):
        return self.wrap(self.second(self.first(getattr(x, 'map', x)).relu()))


class Net(nn.Module):
    def __init__(self, wrap=lambda y: y):
        super().__init__()
        self.stem, self.block, self.head = nn.Conv2d(3, 8, 1), BasicBlock(wrap), nn.Conv2d(8, 4, 1)

    def forward(self, x):
        y = self.block(self.stem(x))
        return self.head(getattr(y, 'map', y))


def learn(model, tmp_path) -> dict[str, dict[str, Any]]:
    generator = torch.Generator().manual_seed(1)
    batches = [torch.randn(1, 3, 8, 8, generator=generator) for _ in range(4)]
    mmptq.quantize(model, batches, 'w4a4', STAGES, tmp_path)
    return {row['unit']: row for row in read_record(tmp_path, 'reconstruction')}


def in_place(y):
    y = y.sigmoid()
    y.mul_(2)  # its backward pass reads what it returned
    return y


class OneWay(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x


@pytest.mark.parametrize(
    'wrap', [Found, lambda y: Found(y, [y + 1, None]), lambda y: Named(map=y, name='y')]
)
def test_dataclasses_and_dicts_of_other_classes(wrap, tmp_path):
    torch.manual_seed(0)
    rows = learn(Net(wrap), tmp_path)
    assert rows['block']['after'] < 0.95 * rows['block']['before']
    assert rows['block']['note'] == ''


def test_a_dataclass_is_learned_as_its_tensor(tmp_path):
    models = []
    for wrap in (lambda y: y, Found):
        torch.manual_seed(0)
        models.append(Net(wrap))
        learn(models[-1], tmp_path / str(len(models)))
    states = [model.state_dict() for model in models]
    assert all(torch.equal(x, states[1][key]) for key, x in states[0].items())


@pytest.mark.parametrize(
    ('wrap', 'reason'),
    [
        (Holder, 'it returns no tensors that can be compared'),
        (in_place, r'no gradients go through it \(RuntimeError: one of the variables'),
        (OneWay.apply, r'no gradients go through it \(NotImplementedError: You must'),
        (lambda y: torch.from_numpy(y.numpy() * 2), r"no gradients .*Can't call numpy\(\)"),
        (lambda y: torch.from_numpy(y.detach().numpy() * 2), 'no gradients go through it'),
        (lambda y: y.detach() * 2, 'no gradients go through it'),
    ],
)
def test_left_alone_with_the_reason(wrap, reason, tmp_path):
    torch.manual_seed(0)
    rows = learn(Net(wrap), tmp_path)
    note = rows['block']['note']
    assert note.startswith('left alone: ')
    assert re.search(reason, note), note
    assert rows['block']['before'] == rows['block']['after']
    assert 'left alone' not in rows['stem']['note'] + rows['head']['note']


def test_a_unit_that_only_runs_inside_of_its_model(tmp_path):
    """Mixed precision: alone, the block would meet weights of another type."""

    class Mixed(Net):
        def forward(self, x):
            with torch.autocast('cpu', dtype=torch.bfloat16):
                return super().forward(x).float()

    rows = learn(Mixed(), tmp_path)
    assert rows['block']['note'].startswith('left alone: it does not run by itself (RuntimeError')
    assert rows['block']['before'] is None


def test_a_scripted_part_between_units(tmp_path):
    class Scripted(Net):
        def __init__(self):
            super().__init__()
            self.part = torch.jit.script(nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU()))

        def forward(self, x):
            return self.head(self.block(self.part(self.stem(x))))

    torch.manual_seed(0)
    rows = learn(Scripted(), tmp_path)
    assert list(rows) == ['stem', 'block', 'head']
    assert rows['block']['after'] < rows['block']['before']

"""Dispatch modes without torch's compiler."""

import torch
from helpers import ROOT

from mmptq.utils.eager_mode import EagerMode


class Seen(EagerMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.__name__)
        return func(*args, **(kwargs or {}))


def test_operators_reach_the_mode_directly():
    with Seen() as seen:
        assert torch.ones(2).add(1).tolist() == [2, 2]
    assert 'add.Tensor' in seen.names
    # Torch would put a wrapper around it, which imports its compiler.
    assert not hasattr(Seen.__torch_dispatch__, '__wrapped__')


def test_all_modes_are_such():
    files = (ROOT / 'mmptq').rglob('*.py')
    found = [path.name for path in files if '(TorchDispatchMode)' in path.read_text()]
    assert found == ['eager_mode.py']

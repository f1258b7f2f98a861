import pytest
import torch
from torch import nn

from mmptq.utils.hooks import replaced_forwards, temporary_hooks


class Doubling(nn.Module):
    def forward(self, x, *, times=2):
        return x * times


def test_hooks_run_within_the_context_only():
    first, second = Doubling(), Doubling()
    seen = []
    before = {first: lambda m, args: seen.append(('before', args[0].item()))}
    after = dict.fromkeys([first, second], lambda m, args, y: seen.append(('after', y.item())))
    with temporary_hooks(before, after):
        second(first(torch.tensor(1.0)))
    second(first(torch.tensor(1.0)))
    assert seen == [('before', 1.0), ('after', 2.0), ('after', 4.0)]


def test_hooks_with_keyword_arguments():
    module, seen = Doubling(), []
    with temporary_hooks({module: lambda m, args, kwargs: seen.append(kwargs)}, with_kwargs=True):
        module(torch.ones(1), times=3)
    assert seen == [{'times': 3}]


def test_hooks_may_change_arguments_and_outputs():
    module = Doubling()
    with temporary_hooks({module: lambda m, args: (args[0] + 1,)}, {module: lambda m, a, y: -y}):
        assert module(torch.tensor(1.0)).item() == -4


def test_hooks_go_whatever_happens():
    module = Doubling()
    with pytest.raises(KeyError), temporary_hooks({module: print}, {module: print}):
        raise KeyError
    assert not module._forward_pre_hooks and not module._forward_hooks
    with pytest.raises(AttributeError), temporary_hooks({module: print}, {'no module': print}):
        pass
    assert not module._forward_pre_hooks


def test_forwards_are_replaced_and_hooks_still_run():
    module, seen = Doubling(), []
    module.register_forward_hook(lambda m, args, y: seen.append(y))
    with replaced_forwards({module: lambda x: x + 10}):
        assert module(1) == 11
    assert module(1) == 2
    assert seen == [11, 2]
    assert 'forward' not in vars(module)


def test_a_forward_of_the_module_itself_is_put_back():
    module = Doubling()
    module.forward = own = lambda x: x
    with pytest.raises(KeyError), replaced_forwards({module: lambda x: x + 10}):
        raise KeyError
    assert module.forward is own


def test_scripted_modules_are_passed_over():
    scripted = torch.jit.script(nn.Sequential(nn.ReLU()))
    hooks = dict.fromkeys([*scripted.modules(), Doubling()], lambda *_: None)
    with temporary_hooks(hooks, hooks):
        assert scripted(torch.ones(1)) == 1

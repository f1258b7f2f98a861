"""Channels last: faster on a CPU, never something else."""

import torch
from mmengine.logging import MMLogger
from torch import nn

from mmptq.ptq.memory_format import channels_last

MMLogger.get_instance('memory_format')
X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def is_last(conv):
    return not conv.weight.is_contiguous()


def net(*more):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ConvTranspose2d(8, 4, 2), *more
    )


def test_maps_follow_within_the_context_only():
    model, seen = net(nn.ReLU()), []
    model[-1].register_forward_hook(lambda _, args, y: seen.append(y.is_contiguous()))
    with channels_last(model, lambda: model(X)) as last:
        assert last and is_last(model[0]) and is_last(model[1])
        inside = model(X)
    assert not is_last(model[0]) and not is_last(model[1])
    assert torch.allclose(inside, model(X), atol=1e-6)
    assert seen == [True, False, False, True]


def test_a_model_that_takes_views_of_maps_stays_as_it_is():
    class View(nn.Module):
        def forward(self, x):
            return x.view(len(x), -1)

    model = net(View())
    with channels_last(model, lambda: model(X)) as last:
        assert not last and not is_last(model[0])
        model(X)


def test_a_model_that_reads_memory_as_if_channels_were_first_stays_as_it_is():
    class Raw(nn.Module):
        def forward(self, x):
            return x.as_strided(x.shape, (x[0].numel(), x[0, 0].numel(), x.shape[3], 1))

    model = net(Raw())
    with channels_last(model, lambda: model(X)) as last:
        assert not last and not is_last(model[0])


def test_operators_of_mmcv_and_models_without_outputs_to_compare_stay_as_they_are():
    class Own(nn.Module):
        def forward(self, x):
            return x

    Own.__module__ = 'mmcv.ops.own'
    for model, run in ((net(Own()), lambda: X), (net(), lambda: object())):
        with channels_last(model, run) as last:
            assert not last and not is_last(model[0])

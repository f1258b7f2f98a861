"""The search for remedies on small networks that are hard to quantize, each in its own way."""

from functools import partial

import pytest
import torch
from helpers import QUANTIZER
from torch import Tensor, nn
from torch.nn import functional as F

from mmptq.ptq import AutoTuner, Calibrator, PTQContext
from mmptq.ptq.run import finish_model, prepare_model
from mmptq.report import read_record

MSE = dict(type='LpObserver', p=2.0)
CHANNELS = 16


class Net(nn.Module):
    """A stem, what is odd, and three more layers."""

    def __init__(self, middle: nn.Module, activation=F.relu):
        super().__init__()
        self.stem, self.middle = nn.Conv2d(3, CHANNELS, 3, padding=1), middle
        self.before = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.last = nn.Conv2d(CHANNELS, 8, 1)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        x = self.middle(self.activation(self.stem(x)))
        return self.last(F.relu(self.before(F.relu(x))))


class Tokens(nn.Module):
    """Attention and a feed-forward layer behind normalisations with uneven gains."""

    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(CHANNELS), nn.LayerNorm(CHANNELS)])
        self.attention = nn.MultiheadAttention(CHANNELS, 2, batch_first=True)
        self.wide, self.narrow = nn.Linear(CHANNELS, 32), nn.Linear(32, CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        y = self.norms[0](tokens)
        tokens = tokens + self.attention(y, y, y, need_weights=False)[0]
        tokens = tokens + self.narrow(F.gelu(self.wide(self.norms[1](tokens))))
        return tokens.transpose(1, 2).reshape(x.shape)


class Levels(nn.Module):
    """One layer on two maps, the second with a hundred times the range."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.shared = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.last = nn.Conv2d(CHANNELS, 8, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = F.relu(self.stem(x))
        return [self.last(F.relu(self.shared(gain * x))) for gain in (1, 100)]


def gains() -> Tensor:
    return torch.logspace(-2, 2, CHANNELS)[torch.randperm(CHANNELS)]


def scale(writer: nn.Conv2d, reader: nn.Conv2d, factors: Tensor) -> None:
    """Multiply the channels between two layers, which compute the same together."""
    writer.weight.mul_(factors.view(-1, 1, 1, 1))
    writer.bias.mul_(factors)
    columns = reader.weight.transpose(0, 1) if reader.groups == 1 else reader.weight
    columns.div_(factors.view(-1, 1, 1, 1))


def dense(factors) -> nn.Module:
    model = Net(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1))
    scale(model.stem, model.middle, factors())
    scale(model.middle, model.before, factors())
    return model


def one_channel() -> Tensor:
    return torch.ones(CHANNELS).index_fill(0, torch.tensor([3]), 50.0)


def depthwise(activation) -> nn.Module:
    middle = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS)
    model = Net(middle, activation)
    scale(model.stem, middle, gains())
    return model


def dead_channels() -> nn.Module:
    """Half of the channels are zero, and the weights that read them are huge."""
    model = Net(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1))
    model.stem.weight[::2] = model.stem.bias[::2] = 0
    model.middle.weight[:, ::2] *= 1000
    return model


def offset() -> nn.Module:
    """One channel lies far from zero, and the next bias takes it off."""
    model = Net(nn.Conv2d(CHANNELS, CHANNELS, 1))
    model.stem.bias[3] += 1000
    model.middle.bias -= 1000 * model.middle.weight[:, 3, 0, 0]
    return model


def tokens() -> nn.Module:
    middle = Tokens()
    readers = (middle.attention.in_proj_weight, middle.wide.weight)
    for norm, weight in zip(middle.norms, readers, strict=True):
        factors = gains()
        norm.weight.mul_(factors)
        weight.div_(factors)
    return Net(middle)


# What is odd: the network, and the remedy and cause that are found.
CASES = {
    'uneven': (partial(dense, gains), 'channel multiplier', 'uneven'),
    'one channel': (partial(dense, one_channel), 'channel multiplier', 'uneven'),
    'SiLU': (partial(depthwise, F.silu), 'channel multiplier', 'depthwise'),
    'GELU': (partial(depthwise, F.gelu), 'channel multiplier', 'depthwise'),
    'Hardswish': (partial(depthwise, F.hardswish), 'channel multiplier', 'depthwise'),
    'dead channels': (dead_channels, 'channel multiplier', 'uneven weights'),
    'offset': (offset, 'more bits', 'offset'),
    'tokens': (tokens, 'channel multiplier', 'uneven'),
    'levels': (Levels, 'more bits', None),
}


def tuned(model: nn.Module, folder) -> tuple[dict, list[dict]]:
    batches = [torch.randn(1, 3, 12, 12) for _ in range(2)]
    ctx = PTQContext(model.eval(), batches, folder, seed=0)
    prepare_model(ctx, QUANTIZER)
    Calibrator(MSE, MSE, warn=False).run(ctx)
    AutoTuner(target=0.002).run(ctx)
    finish_model(ctx)
    return read_record(folder, 'auto'), read_record(folder, 'diagnosis')


@pytest.mark.parametrize('name', CASES)
def test_it_is_mended_and_the_cause_is_named(name, tmp_path):
    make, remedy, cause = CASES[name]
    torch.manual_seed(0)
    with torch.no_grad():
        found, rows = tuned(make(), tmp_path)
    assert found['before'] > 0.02 and found['after'] < 0.002
    assert remedy in [step['remedy'] for step in found['steps'] if step['kept']]
    assert cause is None or rows[0]['cause'] == cause


@pytest.mark.parametrize('factor', [1e-6, 1e6])
def test_the_size_of_activations_does_not_matter(factor, tmp_path):
    torch.manual_seed(0)
    with torch.no_grad():
        found, _ = tuned(dense(partial(torch.full, (CHANNELS,), factor)), tmp_path)
    assert found['before'] < 0.002 and found['steps'] == []

"""Networks with a layer that has to stay float: its weight is not its own, or is not what runs."""

import torch
import torch.nn.functional as F
from odd_models import ConvBN
from odd_norms import TiedWeight
from torch import nn
from torch.nn.utils import prune


class WeightNorm(ConvBN):
    def change(self):
        self.conv = nn.utils.parametrizations.weight_norm(self.conv)


class OldWeightNorm(ConvBN):
    def change(self):
        self.conv = nn.utils.weight_norm(self.conv)


class SpectralNorm(ConvBN):
    def change(self):
        self.conv = nn.utils.parametrizations.spectral_norm(self.conv)


class OldSpectralNorm(ConvBN):
    def change(self):
        self.conv = nn.utils.spectral_norm(self.conv)


class Pruned(ConvBN):
    def change(self):
        prune.random_unstructured(self.conv, 'weight', 0.5)


class BufferWeight(ConvBN):
    def change(self):
        weight = self.conv.weight.detach().clone()
        del self.conv.weight
        self.conv.register_buffer('weight', weight, persistent=False)


class HookWritesWeight(ConvBN):
    """The weight is a parameter, and a hook writes it in every forward."""

    def change(self):
        self.conv.register_buffer('base', self.conv.weight.detach().clone())
        self.conv.register_forward_pre_hook(lambda m, args: m.weight.data.copy_(m.base))


class HookReplacesWeight(ConvBN):
    def change(self):
        self.conv.register_buffer('base', self.conv.weight.detach().clone())

        def hook(module, args):
            module.weight = nn.Parameter(module.base.clone())

        self.conv.register_forward_pre_hook(hook)


class SharedMemory(TiedWeight):
    """Two parameters on one memory."""

    def change(self):
        self.other = nn.Conv2d(8, 8, 3, padding=1)
        self.other.weight.data = self.conv.weight.data


class FunctionalUse(ConvBN):
    def middle(self, x):
        return self.bn(self.conv(x)) + F.conv2d(x, self.conv.weight, padding=1)


class OtherWeightEachTime(ConvBN):
    def change(self):
        self.register_buffer('base', torch.randn(8, 8, 3, 3))

    def middle(self, x):
        return self.bn(torch.func.functional_call(self.conv, dict(weight=self.base), (x,)))


class DataReplaced(OtherWeightEachTime):
    def middle(self, x):
        self.conv.weight.data = self.base.clone()
        return self.bn(self.conv(x))


class WrittenUnseen(OtherWeightEachTime):
    """By an operator outside of torch's dispatcher."""

    def middle(self, x):
        self.conv.weight.detach().numpy()[:] = self.base.numpy()
        return self.bn(self.conv(x))


class ForwardOfItsOwn(ConvBN):
    def change(self):
        self.conv.forward = lambda x: 2 * F.conv2d(x, self.conv.weight, padding=1)


class ForwardCalledDirectly(ConvBN):
    def middle(self, x):
        return self.bn(self.conv.forward(x))


class Orthogonal(ConvBN):
    def change(self):
        self.conv = nn.Conv2d(8, 8, 1)
        nn.utils.parametrizations.orthogonal(self.conv)


class HalfOfOneParameter(ConvBN):
    def change(self):
        self.both = nn.Parameter(torch.randn(16, 8, 3, 3))
        self.conv.weight.data = self.both.data[:8]

    def middle(self, x):
        return self.bn(self.conv(x)) + F.conv2d(x, self.both[8:], padding=1)


class Complex(ConvBN):
    def change(self):
        self.conv = nn.Linear(8, 8, dtype=torch.complex64)

    def middle(self, x):
        return self.bn(self.conv(x.to(torch.complex64)).abs())


class Vectorized(ConvBN):
    def middle(self, x):
        return self.bn(torch.vmap(self.conv)(x))


KEPT_FLOAT = [
    OtherWeightEachTime,
    DataReplaced,
    WrittenUnseen,
    ForwardOfItsOwn,
    ForwardCalledDirectly,
    Orthogonal,
    HalfOfOneParameter,
    WeightNorm,
    OldWeightNorm,
    SpectralNorm,
    OldSpectralNorm,
    Pruned,
    BufferWeight,
    HookWritesWeight,
    HookReplacesWeight,
    SharedMemory,
    FunctionalUse,
    Complex,
    Vectorized,
]

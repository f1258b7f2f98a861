"""Networks with a BatchNorm that can be folded, or looks as if it could."""

import torch
import torch.nn.functional as F
from odd_models import ConvBN
from torch import nn
from torch.utils.checkpoint import checkpoint


class Plain(ConvBN):
    pass


class Reflect(ConvBN):
    def change(self):
        self.conv = nn.Conv2d(8, 8, 3, padding=1, padding_mode='reflect')


class TwiceTheSamePair(ConvBN):
    def middle(self, x):
        return self.bn(self.conv(x)) + self.bn(self.conv(-x))


class TiedWeight(ConvBN):
    def change(self):
        self.other = nn.Conv2d(8, 8, 3, padding=1)
        self.other.weight = self.conv.weight

    def middle(self, x):
        return self.bn(self.conv(x)) + self.other(x)


class NormUsedTwice(ConvBN):
    def middle(self, x):
        return self.bn(self.conv(x)) + self.bn(x)


class NormReadElsewhere(ConvBN):
    def middle(self, x):
        return self.bn(self.conv(x)) * self.bn.weight.view(1, -1, 1, 1)


class NormInTrainMode(ConvBN):
    def train(self, mode=True):
        super().train(mode)
        self.bn.train()
        return self


class NoStatistics(ConvBN):
    def change(self):
        self.bn = nn.BatchNorm2d(8, track_running_stats=False)


class NormWithActivation(ConvBN):
    def change(self):
        class BatchNormAct(nn.BatchNorm2d):
            def forward(self, x):
                return F.leaky_relu(super().forward(x))

        self.bn = BatchNormAct(8)


class NormWithHook(ConvBN):
    def change(self):
        self.bn.register_forward_hook(lambda module, args, y: 2 * y)


class ConvWithHook(ConvBN):
    """Unknown to the plan: the hook of the convolution squares what the BatchNorm gets."""

    def change(self):
        self.conv.register_forward_hook(lambda module, args, y: y.square())


class OutputElsewhere(ConvBN):
    def forward(self, x):
        y = self.conv(self.stem(x).relu())
        return self.head(self.bn(y)), y


class OutputStashed(ConvBN):
    """What a hook keeps of the convolution is an output, without any operation on it."""

    def change(self):
        self.kept = None
        self.conv.register_forward_hook(lambda module, args, y: setattr(self, 'kept', y))

    def forward(self, x):
        return self.head(self.middle(self.stem(x))), dict(kept=self.kept)


class ReadsBias(ConvBN):
    """Code that looks at the layer: without BatchNorm there is no bias."""

    def middle(self, x):
        y = self.bn(self.conv(x))
        return y if self.conv.bias is None else 2 * y


class KeywordArguments(ConvBN):
    def middle(self, x):
        return self.bn(input=self.conv(input=x))


class ScriptedPart(ConvBN):
    def change(self):
        self.part = torch.jit.script(nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)))

    def middle(self, x):
        return self.bn(self.conv(self.part(x)))


class CallOfItsOwn(ConvBN):
    def change(self):
        self.conv = TwiceConv(8, 8, 3, padding=1)


class TwiceConv(nn.Conv2d):
    def __call__(self, x):
        return 2 * super().__call__(x)


class NormCalledAsFunction(ConvBN):
    def middle(self, x):
        bn = self.bn
        return F.batch_norm(self.conv(x), bn.running_mean, bn.running_var, bn.weight, bn.bias)


class HiddenUse(ConvBN):
    """A compiled operator reads what the convolution gives."""

    def middle(self, x):
        y = self.conv(x)
        return self.bn(y) + torch.from_numpy(y.detach().numpy().copy())


class LinearOverPositions(ConvBN):
    """The BatchNorm runs over positions, and not over the channels of the layer before it."""

    def change(self):
        self.conv, self.bn = nn.Linear(8, 8), nn.BatchNorm1d(64)

    def middle(self, x):
        return self.bn(self.conv(x.flatten(2).transpose(1, 2))).transpose(1, 2).reshape(x.shape)


class LinearOverAsManyPositions(LinearOverPositions):
    """As many positions as channels, so that no shape tells them apart."""

    def change(self):
        self.conv, self.bn = nn.Linear(8, 8), nn.BatchNorm1d(8)

    def middle(self, x):
        y = self.bn(self.conv(x.flatten(2)[..., :8].contiguous()))
        return torch.cat([y] * 8, 2).reshape(x.shape)


class InPlaceBetween(ConvBN):
    def middle(self, x):
        return self.bn(self.conv(x).mul_(2))


class Gradient(ConvBN):
    """The forward takes a gradient, in which the backward pass reads the weights."""

    def forward(self, x):
        with torch.enable_grad():
            x = x.clone().requires_grad_()
            y = super().forward(x)
            (gradient,) = torch.autograd.grad(y.square().sum(), x)
        return y.detach(), gradient


class OutputInObject(ConvBN):
    """What the convolution gives leaves the model inside of an object."""

    def forward(self, x):
        y = self.conv(self.stem(x).relu())
        found = Holder()
        found.head, found.raw, found.itself = self.head(self.bn(y)), y, found
        return found


class Holder:
    pass


class Circular(ConvBN):
    def change(self):
        self.conv = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=2, padding_mode='circular')


class Transposed(ConvBN):
    def change(self):
        self.conv = nn.ConvTranspose2d(8, 8, 3, stride=2, padding=1)

    def middle(self, x):
        return self.bn(self.conv(x, output_size=[16, 16]))


class OneDimension(ConvBN):
    def change(self):
        self.conv, self.bn = nn.Conv1d(8, 8, 3, padding=1, bias=False), nn.BatchNorm1d(8)

    def middle(self, x):
        return self.bn(self.conv(x.flatten(2))).view_as(x)


class ThreeDimensions(ConvBN):
    def change(self):
        self.conv, self.bn = nn.Conv3d(8, 8, 3, padding='same'), nn.BatchNorm3d(8)

    def middle(self, x):
        return self.bn(self.conv(x.unsqueeze(2))).squeeze(2)


class AnotherName(ConvBN):
    """One convolution under two names."""

    def change(self):
        self.blocks = nn.ModuleDict(dict(weight=nn.Sequential(self.conv, self.bn)))

    def middle(self, x):
        return self.blocks['weight'](x)


class Checkpointed(ConvBN):
    def middle(self, x):
        return checkpoint(super().middle, x, use_reentrant=False)


FOLDED = [
    Plain,
    Reflect,
    TwiceTheSamePair,
    KeywordArguments,
    ScriptedPart,
    Circular,
    Transposed,
    OneDimension,
    ThreeDimensions,
    AnotherName,
    Checkpointed,
]
NOT_FOLDED = [
    CallOfItsOwn,
    NormCalledAsFunction,
    HiddenUse,
    TiedWeight,
    NormUsedTwice,
    NormReadElsewhere,
    NormInTrainMode,
    NoStatistics,
    NormWithActivation,
    NormWithHook,
    ConvWithHook,
    OutputElsewhere,
    OutputStashed,
    ReadsBias,
    LinearOverPositions,
    LinearOverAsManyPositions,
    InPlaceBetween,
    Gradient,
    OutputInObject,
]

"""A lane detector in three lines: one score and one x for each of two queries."""

import math
from types import SimpleNamespace

import torch
from torch import nn

from mmptq.adapters import LaneHeadAdapter

LN3 = math.log(3)


class ToyHead(nn.Module):
    """Holds no weights; its raw outputs are given to the adapter."""


class ToyLaneAdapter(LaneHeadAdapter):
    """Lanes are vertical, at x of each query with a positive score."""

    confidence_parts = {'score': None}  # noqa: RUF012

    def __init__(self):
        model = nn.Module()
        model.lane_head = ToyHead()
        super().__init__(model)

    def outputs(self, raw):
        return []

    def focus(self, raw):
        lane = raw['score'].sigmoid()
        return dict(score=lane, x=lane[..., None])

    def decode(self, raw, data):
        samples = []
        for scores, xs in zip(raw['score'], raw['x'][..., 0], strict=True):
            lanes = [torch.tensor([[x, 100.0], [x, 0.0]]) for x in xs[scores > 0].tolist()]
            samples.append(ToySample(lanes))
        return samples


class ToySample:
    """A data sample with predicted lanes."""

    def __init__(self, lanes):
        self.pred_lanes = lanes
        self.metainfo = dict(ori_shape=(100, 200))

    def __contains__(self, key):
        return key == 'pred_lanes'


class ToyTeacher:
    """Samples whose float and quantized raw outputs are given."""

    def __init__(self, loss, pairs):
        self.adapter, self.pairs = ToyLaneAdapter(), pairs
        targets = [loss.make_target(self.adapter, one, {}) for one, _ in pairs]
        self.targets = targets
        self.found = [i for i, target in enumerate(targets) if target is not None]
        self.counts = [len(self.found)]

    def data(self, index):
        return {}

    def target(self, index):
        return self.targets[index]

    def float_raw(self, index):
        return self.pairs[index][0]

    def raw_outputs(self, index):
        return self.pairs[index][1]

    def mean_over_samples(self, own):
        return torch.stack(own).mean(0) if own else torch.zeros(0)

    def common(self, own):
        return own


def raw(scores, xs):
    """Raw outputs of one image."""
    return dict(score=torch.tensor([scores]), x=torch.tensor([xs])[..., None])


def namespace(**values):
    return SimpleNamespace(**values)

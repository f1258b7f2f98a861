"""Units on rows that the data chooses are found; all others are not."""

import pytest
import torch
from reconstruction import W4A4, ToyDetector, images
from torch import nn

from mmptq.ptq import Calibrator, PTQContext, Reconstructor
from mmptq.ptq.run import prepare_model
from mmptq.ptq.units.chosen_rows import chosen_rows
from mmptq.ptq.units.find import find_units


class Base(nn.Module):
    """Features, a score per position, and a second stage on some of them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.score = nn.Conv2d(8, 1, 1)
        self.second = nn.Linear(8, 8)
        self.third = nn.Linear(8, 4)

    def forward(self, x):
        y = self.stem(x).relu()
        rows, scores = y.flatten(2)[0].t(), self.score(y).flatten()
        return self.third(self.choose(rows, scores, y).relu())


class TopK(Base):
    def choose(self, rows, scores, y):
        return self.second(rows[scores.topk(10).indices])


class GatheredQueries(Base):
    """As the two-stage transformers take their queries."""

    def choose(self, rows, scores, y):
        index = scores.topk(10).indices
        return self.second(rows.gather(0, index[:, None].expand(-1, 8)))


class Mask(Base):
    def choose(self, rows, scores, y):
        return self.second(rows[scores > scores.mean()])


class Sorted(Base):
    def choose(self, rows, scores, y):
        return self.second(rows[scores.argsort()])


class NumberOfRows(Base):
    def choose(self, rows, scores, y):
        return self.second(rows[: int((scores > scores.mean()).sum())])


class NumpySuppression(Base):
    """Chosen where torch's dispatcher does not look."""

    def choose(self, rows, scores, y):
        return self.second(rows[torch.from_numpy(scores.detach().numpy().argsort()[:9].copy())])


class FarthestPoints(nn.Module):
    """A compiled operator that takes rows, and returns which."""

    def forward(self, rows, scores):
        with torch.utils._python_dispatch._disable_current_modes():
            index = scores.topk(10).indices
            return rows.new_tensor(rows.detach().numpy()[index.numpy()].tolist()), index


class Sampled(Base):
    def __init__(self):
        super().__init__()
        self.sampler = FarthestPoints()

    def choose(self, rows, scores, y):
        return self.second(self.sampler(rows, scores)[0])


class Experts(Base):
    """Rows go through one of two layers, and come back to where they were."""

    def __init__(self):
        super().__init__()
        self.other = nn.Linear(8, 8)

    def choose(self, rows, scores, y):
        result = torch.zeros_like(rows)
        for expert, mask in ((self.second, scores > 0), (self.other, scores <= 0)):
            result[mask] = expert(rows[mask])
        return result


class Levels(Base):
    """As RoI features of several levels: each row stays where it was."""

    def choose(self, rows, scores, y):
        result = torch.zeros_like(rows)
        for part in ((scores > 0).nonzero().squeeze(1), (scores <= 0).nonzero().squeeze(1)):
            if part.numel():
                result[part] = rows[part] * 2
        return self.second(result)


class Gate(Base):
    """Masks of values, and indices that do not depend on the data."""

    def choose(self, rows, scores, y):
        rows = rows.clone()
        rows[rows < 0.1] = 0
        rows = torch.where(scores[:, None] > 0, rows, 0.5 * rows)
        return self.second(rows[torch.arange(0, len(rows), 2)])


class DecodedLater(Base):
    """All layers run before anything is chosen."""

    def choose(self, rows, scores, y):
        return self.second(rows)

    def forward(self, x):
        result = super().forward(x)
        return result[result[:, 0].topk(3).indices]


@pytest.mark.parametrize(
    ('cls', 'expected'),
    [
        (TopK, ['second', 'third']),
        (GatheredQueries, ['second', 'third']),
        (Mask, ['second', 'third']),
        (Sorted, ['second', 'third']),
        (NumberOfRows, ['second', 'third']),
        (NumpySuppression, ['second', 'third']),
        (Sampled, ['second', 'third']),
        (Experts, ['second', 'other']),
        (Levels, []),
        (Gate, []),
        (DecodedLater, []),
    ],
)
def test_units_on_chosen_rows(cls, expected, tmp_path):
    ctx = PTQContext(cls().eval(), images(2), tmp_path, seed=0)
    prepare_model(ctx, W4A4)

    def run():
        return ctx.predict(images(1)[0])

    units = find_units(ctx.model, run, 'layer')
    assert chosen_rows(ctx.model, run, units) == expected
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in ctx.model.modules())


def test_reconstructor_leaves_them_alone(tmp_path, caplog):
    ctx = PTQContext(TopK().eval(), images(3), tmp_path, seed=0)
    prepare_model(ctx, W4A4)
    Calibrator().run(ctx)
    ctx.logger.addHandler(caplog.handler)
    try:
        Reconstructor('layer', num_iters=2, batch_size=1).run(ctx)
    finally:
        ctx.logger.removeHandler(caplog.handler)
    records = {record['kind']: record['rows'] for record in ctx.run_record.records}
    assert [row['unit'] for row in records['reconstruction']] == ['stem', 'score']
    assert [row['unit'] for row in records['left_alone']] == ['second', 'third']
    assert 'rows are chosen by the data' in caplog.text
    assert 'second, third' in caplog.text
    assert ctx.model.second.weight_quantizer.rounding is None


def test_dense_detectors_are_untouched(tmp_path):
    ctx = PTQContext(ToyDetector().eval(), [dict(inputs=x) for x in images(1)], tmp_path, seed=0)
    prepare_model(ctx, W4A4)

    def run():
        return ctx.predict(dict(inputs=images(1)[0]))

    assert chosen_rows(ctx.model, run, find_units(ctx.model, run)) == []


class Sometimes(Base):
    """The second stage runs in bright images only."""

    def forward(self, x):
        y = self.stem(x).relu().flatten(2)[0].t()
        return self.third(self.second(y).relu()) if x.mean() > 1 else y


@pytest.mark.parametrize('bright', [0, 2])
def test_layers_that_run_in_some_samples_are_learned(bright, tmp_path):
    batches = [image + 3 * (index == bright) for index, image in enumerate(images(4))]
    ctx = PTQContext(Sometimes().eval(), batches, tmp_path, seed=0)
    prepare_model(ctx, W4A4)
    Calibrator().run(ctx)
    Reconstructor('layer', num_iters=8, batch_size=1).run(ctx)
    records = {record['kind']: record['rows'] for record in ctx.run_record.records}
    rows = {row['unit']: row for row in records['reconstruction']}
    assert list(rows) == ['stem', 'second', 'third']
    assert rows['third']['before'] > 0
    assert all(row['note'] == '' for row in rows.values())

"""Units recorded from where the last one ended hold what whole forwards give, bit by bit."""

import pytest
import torch
from mmengine.logging import MMLogger
from reconstruction import ToyDetector, images, toy_context
from torch import nn
from unit_recording import Counted, assert_same, change, recorded

from mmptq.ptq import ActivationCache
from mmptq.ptq.recording.stream import Stream, TracedSamples
from mmptq.ptq.recording.unit_recorder import UnitRecorder
from mmptq.ptq.units.find import find_units


@pytest.fixture
def messages(monkeypatch):
    found = []

    def warning(logger, text):
        found.extend([text] if 'whole forwards' in text else [])

    monkeypatch.setattr(MMLogger, 'warning', warning)
    return found


@pytest.mark.parametrize('granularity', ['layer', 'block'])
@pytest.mark.parametrize('keep_target', [True, False])
@pytest.mark.parametrize('budget', [2**20, 1])
def test_same_as_whole_forwards(granularity, keep_target, budget, tmp_path, messages):
    ctx = toy_context(tmp_path)
    count = 0
    for _, entries, full in recorded(ctx, granularity, keep_target, budget):
        assert_same(entries, full)
        count += 1
    assert count == (8 if granularity == 'layer' else 4) and not messages
    assert not list(tmp_path.glob('activations*'))


def test_time_is_that_of_a_few_forwards(tmp_path, messages):
    ctx = toy_context(tmp_path, batches=images(24))
    with Counted(ctx.model) as counted:
        for _ in recorded(ctx, 'layer', whole=False):
            pass
    # One forward to find the units. Then each sample is traced once, and one of them twice, and
    # each layer runs once in the float and once in the quantized model. For each of the 8 units
    # two whole forwards of one sample come on top, which end at the unit.
    assert counted.counts['stem.0'] == 1 + 24 + 1 + 2 * 24 + 8 + 7
    assert counted.counts['blocks.0.conv1'] == 1 + 24 + 1 + 2 * 24 + 7 + 6
    # It runs on two levels. Nothing reads the last layer in the quantized model.
    assert counted.counts['bbox_head.boxes'] == 2 * (1 + 24 + 1 + 24 + 1) + 1
    assert not messages


class Towers(nn.Module):
    """Two towers of layers with activations, on two levels."""

    def __init__(self, channels):
        super().__init__()
        layers = [nn.Conv2d(channels, channels, 1) for _ in range(4)]
        parts = [nn.Sequential(layer, nn.ReLU(inplace=True)) for layer in layers]
        self.first, self.second = nn.ModuleList(parts[:2]), nn.ModuleList(parts[2:])

    def forward(self, levels):
        outputs = []
        for x in levels:
            y = x
            for part in self.first:
                y = part(y)
            for part in self.second:
                x = part(x)
            outputs.append((x, y))
        return outputs


def test_towers_run_once_on_every_level(tmp_path, messages):
    model = ToyDetector()
    model.bbox_head = Towers(8)
    ctx = toy_context(tmp_path, model, images(24))
    with Counted(ctx.model) as counted:
        for _ in recorded(ctx, 'layer', whole=False):
            pass
    counts = {n.removeprefix('bbox_head.'): c for n, c in counted.counts.items() if 'head' in n}
    # Traced, and then once in the float and once in the quantized model; the rest is whole
    # forwards of one sample, at most one for each of the 9 units in each model.
    traced = 2 * (1 + 24 + 1)
    assert list(counts) == ['first.0.0', 'first.1.0', 'second.0.0', 'second.1.0']
    for name, count in counts.items():
        streams = 1 if name == 'second.1.0' else 2  # nothing reads the last one
        assert 0 <= count - traced - streams * 2 * 24 <= 2 * 2 * 9, name
    assert not messages


class SecondReader(ToyDetector):
    """The last convolution of the second block also computes with the weight of the stem."""

    def forward(self, inputs, mode='predict', data_samples=None):
        x = self.blocks(self.stem(inputs))
        x = x + nn.functional.conv2d(inputs, self.weight(), padding=1)
        return self.bbox_head([x, x[..., ::2, ::2]])

    def weight(self):
        stem = self.stem[0]
        quantizer = getattr(stem, 'weight_quantizer', None)
        return stem.weight if quantizer is None else quantizer(stem.weight)


def test_weights_read_outside_of_their_layer(tmp_path, messages):
    ctx = toy_context(tmp_path, SecondReader())
    for _, entries, full in recorded(ctx, 'layer'):
        assert_same(entries, full)
    assert not messages  # the sum is no module: it runs again


class Stash(nn.Module):
    """Leaves a tensor on itself for later."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 1)

    def forward(self, x):
        self.kept = self.conv(x)
        return x * 2


class Stashing(ToyDetector):
    def __init__(self):
        super().__init__()
        self.stash = Stash()

    def forward(self, inputs, mode='predict', data_samples=None):
        x = self.blocks[0](self.stem(inputs))
        y = self.stash(x)
        x = self.blocks[1](x)
        return self.bbox_head([x + y + self.stash.kept, x[..., ::2, ::2]])


def test_results_that_do_not_come_back_as_outputs(tmp_path, messages):
    for _, entries, full in recorded(toy_context(tmp_path, Stashing()), 'layer'):
        assert_same(entries, full)
    assert not messages


class OtherMemory(ToyDetector):
    """Results go through numpy, which no tracer sees, and numbers choose."""

    def forward(self, inputs, mode='predict', data_samples=None):
        x = self.blocks(self.stem(inputs))
        copy = torch.from_numpy(x.detach().numpy().copy())
        return self.bbox_head([copy, copy[..., ::2, ::2]])


def test_what_the_tracer_does_not_see(tmp_path, messages):
    for _, entries, full in recorded(toy_context(tmp_path, OtherMemory()), 'layer'):
        assert_same(entries, full)
    assert all('recorded by whole forwards' in text for text in messages)


class Choosing(ToyDetector):
    """Some samples run other calls."""

    def forward(self, inputs, mode='predict', data_samples=None):
        x = self.blocks(self.stem(inputs))
        if inputs.mean() > 0:
            x = self.blocks(x)
        return self.bbox_head([x, x[..., ::2, ::2]])


def test_samples_that_make_other_calls(tmp_path, messages):
    ctx = toy_context(tmp_path, Choosing())
    ctx.loader.sort(key=lambda data: data['inputs'].mean())
    assert ctx.loader[0]['inputs'].mean() < 0 < ctx.loader[-1]['inputs'].mean()
    for _, entries, full in recorded(ctx, 'layer'):
        assert_same(entries, full)


@pytest.mark.parametrize('most', [True, False])
def test_units_that_run_in_some_samples_only(most, tmp_path, messages):
    class Rare(ToyDetector):
        def forward(self, inputs, mode='predict', data_samples=None):
            x = self.blocks[0](self.stem(inputs))
            x = self.blocks[1](x) if inputs.shape[-1] == 12 else x
            return self.bbox_head([x, x[..., ::2, ::2]])

    few, many = images(2, 12 if not most else 8), images(4, 8 if not most else 12)
    ctx = toy_context(tmp_path, Rare(), sorted(few + many, key=lambda x: -x.shape[-1]))
    for _, entries, full in recorded(ctx, 'layer'):
        assert_same(entries, full)
    expected = [] if most else ['blocks.1.conv1', 'blocks.1.conv2']
    assert [text.split("'")[1] for text in messages] == expected
    assert all('most samples do not run it' in text for text in messages)


class Recurrent(ToyDetector):
    """A block feeds itself, and the one before it."""

    def forward(self, inputs, mode='predict', data_samples=None):
        x = self.stem(inputs)
        for _ in range(2):
            x = self.blocks[1](self.blocks[0](x))
        return self.bbox_head([x, x[..., ::2, ::2]])


@pytest.mark.parametrize('granularity', ['layer', 'block'])
def test_modules_that_feed_themselves(granularity, tmp_path, messages):
    for _, entries, full in recorded(toy_context(tmp_path, Recurrent()), granularity):
        assert_same(entries, full)
    assert not messages


def test_sizes_differ(tmp_path, messages):
    batches = images(2) + images(2, size=16) + images(2, size=8)
    ctx = toy_context(tmp_path, batches=batches)
    for _, entries, full in recorded(ctx, 'layer'):
        assert_same(entries, full)
    assert not messages


def test_units_that_are_done_already(tmp_path, messages):
    """A resumed run begins in the middle."""
    ctx = toy_context(tmp_path)
    samples = ActivationCache(2**20, tmp_path)
    for data in ctx.loader:
        samples.append(data, exact=True)
    units = find_units(ctx.model, lambda: ctx.predict(samples[0]), 'layer')
    args = ctx.model, samples, ctx.predict, True, True
    with UnitRecorder(*args, units, 2**20) as recorder:
        for unit in units[:3]:
            change(unit)
            recorder.finish(unit)
        entries = list(recorder.record_unit(units[3]))
    assert_same(entries, [UnitRecorder(*args).record(units[3], i) for i in range(6)])
    assert not messages


def test_a_unit_that_is_prepared_again_frees_what_it_kept(tmp_path):
    ctx = toy_context(tmp_path, batches=images(2))
    samples = list(ctx.loader)
    first, second, *_ = find_units(ctx.model, lambda: ctx.predict(samples[0]), 'layer')
    run = lambda index: ctx.predict(samples[index])  # noqa: E731
    stream = Stream(TracedSamples.trace(ctx.model, run, 2), run, 1, tmp_path / 'cache')
    for _ in range(2):  # beyond the budget, so that what is kept has a file
        stream.prepare(second, {first.module}, False, True)
        stream.record(second, 0)
        assert len(list((tmp_path / 'cache').iterdir())) == 1
    stream.close()
    assert not list((tmp_path / 'cache').iterdir())

"""The loop: losses fall, what got worse is undone, and the result is on the grid."""

import pytest
import torch
from reconstruction import ToyDetector, images, toy_context
from torch import nn

from mmptq.ptq import AdaRound, Reconstructor
from mmptq.ptq.resume import ResumeStore
from mmptq.quantization import QuantizationError, freeze, quantized_layers, quantizers_off
from mmptq.report import read_record


def reconstruct(ctx, **options):
    settings = dict(num_iters=40, batch_size=3, act_lr=2e-3, drop_prob=0.5)
    Reconstructor(**{**settings, **options}).run(ctx)
    return read_record(ctx.work_dir, 'reconstruction')


@torch.no_grad()
def output_error(model, xs):
    error = 0.0
    for x in xs:
        pred = model(x)
        with quantizers_off(model):
            target = model(x)
        for level, expected in zip(sum(pred, []), sum(target, []), strict=True):
            error += (level - expected).square().mean().item()
    return error


@pytest.mark.parametrize('granularity', ['layer', 'block', 'network'])
def test_every_loss_goes_down(tmp_path, granularity, device):
    ctx = toy_context(tmp_path, device=device)
    fresh = [x.to(device) for x in images(seed=5)]
    before = output_error(ctx.model, fresh)
    rows = reconstruct(ctx, granularity=granularity, num_iters=60)
    assert len(rows) == {'layer': 8, 'block': 4, 'network': 1}[granularity]
    assert all(row['after'] < row['before'] for row in rows if not row['note'])
    assert sum(not row['note'] for row in rows) > len(rows) / 2
    assert output_error(ctx.model, fresh) < 0.9 * before


def test_result_is_on_the_grid_and_nothing_is_left_behind(tmp_path, device):
    ctx = toy_context(tmp_path, device=device)
    x = images()[0].to(device)
    names = set(ctx.model.state_dict())
    reconstruct(ctx)
    learned = ctx.model.bbox_head.tower.weight_quantizer(ctx.model.bbox_head.tower.weight)
    output = ctx.model(x)
    freeze(ctx.model)
    assert torch.equal(ctx.model.bbox_head.tower.weight, learned)
    for layer in quantized_layers(ctx.model).values():
        quantizer = layer.weight_quantizer
        steps = layer.weight / quantizer.scheme.broadcast(quantizer.scale, 4)
        torch.testing.assert_close(steps, steps.round(), atol=1e-4, rtol=0)
        assert quantizer.rounding is None
        assert layer.input_quantizer.log_scale_delta is None
        assert layer.input_quantizer.drop_prob == 0
    assert set(ctx.model.state_dict()) == names
    assert all(p.requires_grad for p in ctx.model.parameters())
    after = ctx.model(x)
    assert all(map(torch.equal, sum(output, []), sum(after, [])))
    assert not list((tmp_path / 'cache').glob('*'))


def test_float_model_stays_at_hand(tmp_path):
    ctx = toy_context(tmp_path)
    with quantizers_off(ctx.model):
        before = ctx.model(images()[0])
        reconstruct(ctx)
        after = ctx.model(images()[0])
    assert all(map(torch.equal, sum(before, []), sum(after, [])))


def test_a_shared_layer_is_learned_once(tmp_path, monkeypatch):
    class Shared(ToyDetector):
        def __init__(self):
            super().__init__()
            self.blocks[1].conv2 = self.blocks[0].conv1

    ctx = toy_context(tmp_path, Shared())
    learned, begin = [], AdaRound.begin

    def counted(self, weight, quantizer):
        learned.append(quantizer)
        return begin(self, weight, quantizer)

    monkeypatch.setattr(AdaRound, 'begin', counted)
    rows = reconstruct(ctx)
    units = [row['unit'] for row in rows]
    assert units[0] == 'stem' and len(units) == len(set(units))
    layers = quantized_layers(ctx.model).values()
    assert len(learned) == len(layers) == 7
    assert {id(quantizer) for quantizer in learned} == {id(q.weight_quantizer) for q in layers}
    assert all(q.weight_quantizer.rounding is not None for q in layers)


def test_two_runs_are_identical_and_a_seed_matters(tmp_path):
    states = []
    for seed in (0, 0, 1):
        ctx = toy_context(tmp_path)
        ctx.seed = seed
        torch.manual_seed(len(states))  # what other stages draw does not matter
        reconstruct(ctx, num_iters=10)
        freeze(ctx.model)
        states.append(torch.cat([p.detach().flatten() for p in ctx.model.parameters()]))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_a_unit_that_got_worse_is_rolled_back(tmp_path, monkeypatch):
    ctx = toy_context(tmp_path)
    scales = {n: m.input_quantizer.scale.clone() for n, m in quantized_layers(ctx.model).items()}
    rows = reconstruct(ctx, rounding=None, act_lr=5.0, num_iters=3)  # absurd steps
    notes = {row['unit']: row['note'] for row in rows}
    assert 'rolled back: the loss is worse' in notes['bbox_head']
    for name, layer in quantized_layers(ctx.model).items():
        if name.startswith('bbox_head'):
            assert torch.equal(layer.input_quantizer.scale, scales[name])
            assert layer.weight_quantizer.rounding is None


def test_a_unit_with_nan_is_skipped_and_the_others_go_on(tmp_path, monkeypatch):
    from mmptq.ptq.units.unit_objective import UnitObjective

    ctx = toy_context(tmp_path)
    losses = UnitObjective.losses

    def poisoned(self, entry, drop_prob):
        loss, parts = losses(self, entry, drop_prob)
        factor = float('nan') if self.unit.name == 'blocks.0' and drop_prob else 1
        return loss * factor, parts

    monkeypatch.setattr(UnitObjective, 'losses', poisoned)
    rows = {row['unit']: row for row in reconstruct(ctx)}
    assert rows['blocks.0']['note'] == 'rolled back: the loss is not finite after learning'
    assert rows['blocks.1']['after'] < rows['blocks.1']['before']
    assert ctx.model.blocks[0].conv1.weight_quantizer.rounding is None
    assert all(torch.isfinite(x).all() for x in sum(ctx.model(images()[0]), []))


def test_settings_of_earlier_stages_are_used(tmp_path, monkeypatch):
    from mmptq.ptq.units import reconstruction

    ctx = toy_context(tmp_path)
    ctx.layers['blocks.0.conv2'].p = 3.0
    found = {}
    original = reconstruction.mean_loss

    def watch(entries, objective):
        found[objective.unit.name] = objective.local.p
        return original(entries, objective)

    monkeypatch.setattr(reconstruction, 'mean_loss', watch)
    reconstruct(ctx, num_iters=1)
    assert found == {'stem': 2.0, 'blocks.0': 3.0, 'blocks.1': 2.0, 'bbox_head': 2.0}


def weights_of(ctx) -> torch.Tensor:
    layers = quantized_layers(ctx.model).values()
    return torch.cat([layer.weight_quantizer(layer.weight).flatten() for layer in layers])


def test_task_loss_and_importance(tmp_path):
    loss = dict(type='DetectionOutputLoss', score_thr=0.01)
    importance = dict(type='FisherImportance', loss=loss)
    results = []
    for options in ({}, dict(importance=importance), dict(task_loss=loss, importance=importance)):
        ctx = toy_context(tmp_path)
        rows = reconstruct(ctx, num_iters=30, **options)
        assert sum(row['after'] < row['before'] for row in rows) >= 3
        layers = quantized_layers(ctx.model).values()
        assert all(layer.weight_quantizer.enabled for layer in layers)
        results.append(weights_of(ctx))
    plain, weighted, both = results
    assert not torch.equal(plain, weighted) and not torch.equal(weighted, both)


def test_a_small_cache_gives_the_same_within_half_precision(tmp_path):
    losses = []
    for budget in (2**30, 2000):
        ctx = toy_context(tmp_path)
        # Steps this small change nothing: one unit kept and another rolled back would.
        rows = reconstruct(ctx, cache_budget=budget, rounding=None, num_iters=2, act_lr=1e-9)
        losses.append([row['before'] for row in rows])
    assert losses[0] == pytest.approx(losses[1], rel=0.005)
    assert losses[0] != losses[1]  # in half precision


def test_a_part_of_the_samples(tmp_path):
    whole, part = toy_context(tmp_path / 'whole'), toy_context(tmp_path / 'part')
    whole.loader = whole.loader[::2]
    part.loader = part.loader[: 2 * len(whole.loader)]
    rows = [reconstruct(whole), reconstruct(part, num_samples=len(whole.loader))]
    assert rows[0] == rows[1]


def test_images_of_several_sizes(tmp_path):
    batches = [*images(2, 12), *images(2, 16)]
    rows = reconstruct(toy_context(tmp_path, batches=batches))
    assert sum(row['after'] < row['before'] for row in rows) >= 3


def test_samples_that_give_a_unit_nothing(tmp_path):
    class Chooser(ToyDetector):
        """Runs its head on proposals, of which an image may have none."""

        def forward(self, inputs, mode='predict', data_samples=None):
            x = self.blocks(self.stem(inputs))
            return self.bbox_head([x[: int(inputs[0, 0, 0, 0] > -9)]])

    dark, empty = images(2)
    empty[0, 0, 0, 0] = -10
    rows = reconstruct(toy_context(tmp_path, Chooser(), [*images(4), dark, empty]))
    assert rows[-1]['unit'] == 'bbox_head'
    assert rows[-1]['after'] < rows[-1]['before']


def test_finished_units_are_taken_as_they_were(tmp_path, monkeypatch):
    results = []
    for stop in (None, 2, None):
        resume = stop is None and bool(results)
        ctx = toy_context(tmp_path)
        ctx.resume = ResumeStore(tmp_path / 'resume', dict(config='a'), resume)
        with monkeypatch.context() as patch:
            if stop:
                patch.setattr(ResumeStore, 'load', Killer(ResumeStore.load, stop))
            try:
                reconstruct(ctx, num_iters=5)
            except KeyboardInterrupt:
                assert len(list((tmp_path / 'resume').glob('*.pth'))) == stop
                results.append(None)
                continue
        freeze(ctx.model)
        results.append({k: v.clone() for k, v in ctx.model.state_dict().items()})
    assert all(torch.equal(results[0][key], results[2][key]) for key in results[0])


class Killer:
    """Lets ``number`` units be learned and then stops."""

    def __init__(self, load, number):
        self.load, self.number = load, number

    def __get__(self, store, owner):
        def load(name):
            if self.number == 0:
                raise KeyboardInterrupt
            self.number -= 1
            return self.load(store, name)

        return load


def test_uncalibrated_model_is_named(tmp_path):
    ctx = toy_context(tmp_path)
    ctx.model.stem[0].input_quantizer.scale.zero_()
    with pytest.raises(QuantizationError, match=r"'stem.0' has no scale yet"):
        reconstruct(ctx)


def test_no_adapter_is_needed_for_a_local_loss_only(tmp_path):
    class OtherHead(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(8, 2, 1)

        def forward(self, levels):
            return [self.conv(x) for x in levels]

    model = ToyDetector()
    model.bbox_head = OtherHead()
    ctx = toy_context(tmp_path, model)
    reconstruct(ctx, num_iters=2)
    with pytest.raises(QuantizationError, match='no adapter for ToyDetector with OtherHead'):
        reconstruct(ctx, granularity='network')

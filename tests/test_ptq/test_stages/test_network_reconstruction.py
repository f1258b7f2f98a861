"""Rounding and scales of a whole lane detector at once, killed and resumed, and what is refused."""

import copy
import json

import pytest
import torch
from helpers import QUANTIZER
from lane_models import UNUSED, build_lane_model, lane_batch
from mmengine.logging import MMLogger

from mmptq.losses import SemanticFocusLoss
from mmptq.ptq import Calibrator, PTQContext, Reconstructor
from mmptq.ptq.resume import ResumeStore
from mmptq.ptq.run import plan_model, quantize_model
from mmptq.ptq.stages.recipe import check_stages
from mmptq.ptq.units import training_progress
from mmptq.quantization import FakeQuantizer, QuantizationError, quantized_layers
from mmptq.utils.trees import flatten

FAMILY = 'bezier'
FOUR_BITS = copy.deepcopy(QUANTIZER)
FOUR_BITS['weight']['bits'] = 4
FOUR_BITS['rules'] = [*FOUR_BITS['rules'], dict(name=UNUSED[FAMILY], weight=None, act=None)]
TASK = dict(type='SemanticFocusLoss', selection=dict(interval=2))


class Batches(list):
    """Calibration batches that are read as often as the run wants."""

    def __iter__(self):
        return map(copy.deepcopy, super().__iter__())

    def __getitem__(self, index):
        return copy.deepcopy(super().__getitem__(index))


def network(**options):
    gentle = dict(type='AdaRound', lr=0.01)
    settings = dict(loss=None, task_loss=TASK, rounding=gentle, act_lr=2e-3, num_iters=6)
    return Reconstructor('network', batch_size=1, **(settings | options))


def quantize(folder, tiny_lanes, stage, resume=None):
    """The quantized model and the records of the run."""
    torch.set_num_threads(1)
    model = build_lane_model(FAMILY)
    batches = Batches(lane_batch(model, tiny_lanes, 1) for _ in range(2))
    ctx = PTQContext(model, batches, folder, 0)
    ctx._prepare = lambda batch: batch
    if resume is not None:
        ctx.resume = ResumeStore(folder / 'resume', {}, resume)
    observer = dict(type='MinMaxObserver')
    stages = [Calibrator(observer, observer), stage]
    plan_model(ctx, FOUR_BITS)
    check_stages(stages, ctx)
    quantize_model(ctx, stages)
    records = json.loads((folder / 'run.json').read_text())['records']
    return model, {record['kind']: record['rows'] for record in records}


def test_what_the_loss_found_is_recorded(tmp_path, tiny_lanes):
    _, records = quantize(tmp_path, tiny_lanes, network(num_iters=3))
    assert [row['head'] for row in records['head_errors']] == ['logits', 'control_points']
    assert [row['step'] for row in records['head_weights']] == [0, 2]
    assert all(row['0'] == 0 for row in records['head_sensitivity'])


def check_learned_at_once(model, states):
    """Rounding of every weight and every scale changed between two states."""
    layers = quantized_layers(model).values()
    assert len(states[0]['roundings']) == len(layers)
    assert len(states[0]['scale_deltas']) == sum(
        isinstance(layer.input_quantizer, FakeQuantizer) for layer in layers
    )
    for key in ('roundings', 'scale_deltas'):
        one, other = (flatten(state[key])[0] for state in (states[0], states[2]))
        still = sum(torch.equal(*pair) for pair in zip(one, other, strict=True))
        assert still <= 3, 'but for the layers of the head that is not selected'


def test_killed_inside_of_the_network_and_resumed_gives_the_same_bits(
    tmp_path, tiny_lanes, monkeypatch
):
    monkeypatch.setattr(training_progress, 'INTERVAL', 2)
    dropping, save, states = network(drop_prob=0.5), ResumeStore.save, []

    def keep(self, name, state):
        save(self, name, state)
        if name == 'step':
            states.append(copy.deepcopy(state))
            if len(states) == 5:
                raise KeyboardInterrupt

    monkeypatch.setattr(ResumeStore, 'save', keep)
    expected, records = quantize(tmp_path / 'whole', tiny_lanes, dropping, resume=False)
    with pytest.raises(KeyboardInterrupt):
        quantize(tmp_path / 'killed', tiny_lanes, dropping, resume=False)
    found, again = quantize(tmp_path / 'killed', tiny_lanes, dropping, resume=True)
    # Three of the whole run, two before the kill, and the last.
    assert [state['done'] for state in states] == [2, 4, 6, 2, 4, 6]
    (one, structure), (other, nesting) = flatten(states[2]), flatten(states[5])
    assert structure == nesting and len(one) == len(other) > 50
    assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))
    check_learned_at_once(expected, states)
    pairs = zip(expected.state_dict().values(), found.state_dict().values(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)
    assert again['head_weights'] == records['head_weights']
    assert again['reconstruction'] == records['reconstruction']


def test_images_without_lanes(tmp_path, tiny_lanes, monkeypatch):
    from mmptq.lanes.models import BezierHead

    monkeypatch.setattr(BezierHead, 'decode', lambda self, outputs, samples: [[] for _ in samples])
    message = 'no target in 2 of 2 calibration samples: the float model finds no lane there, so ch'
    with pytest.raises(QuantizationError, match=message):
        quantize(tmp_path, tiny_lanes, network())


def test_some_images_without_lanes_are_counted(tmp_path, tiny_lanes, monkeypatch):
    make_target, seen, warnings = SemanticFocusLoss.make_target, [], []

    def not_in_the_first(self, adapter, raw, data):
        seen.append(raw)
        return make_target(self, adapter, raw, data) if len(seen) > 1 else None

    monkeypatch.setattr(SemanticFocusLoss, 'make_target', not_in_the_first)
    monkeypatch.setattr(MMLogger, 'warning', lambda self, text, *_: warnings.append(text))
    quantize(tmp_path, tiny_lanes, network(num_iters=1))
    (found,) = [text for text in warnings if 'no target' in text]
    assert 'no target in 1 of 2 calibration samples, this loss ignores them: the float mo' in found


def test_a_loss_that_does_not_fit_is_refused_before_any_work(tmp_path, tiny_lanes, monkeypatch):
    from mmptq.adapters import BezierHeadAdapter

    monkeypatch.setattr(BezierHeadAdapter, 'confidence_parts', {})
    with pytest.raises(QuantizationError, match='BezierHeadAdapter names none of BezierHead'):
        quantize(tmp_path, tiny_lanes, network())
    assert not (tmp_path / 'run.json').exists()


def test_features_of_backbone_and_neck(tmp_path, tiny_lanes):
    task_loss = dict(type='SemanticFocusLoss', selection=False, features=1.0)
    _, records = quantize(tmp_path, tiny_lanes, network(task_loss=task_loss, num_iters=1))
    # Half of each of the two heads, and the features with a weight of one.
    assert records['reconstruction'][0]['before'] == pytest.approx(2, rel=1e-4)
    message = "looks at features of the whole network, not of a block: set granularity='network'"
    with pytest.raises(QuantizationError, match=message):
        quantize(tmp_path / 'b', tiny_lanes, Reconstructor('block', task_loss=task_loss))

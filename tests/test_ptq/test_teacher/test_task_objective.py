"""The loss of head outputs: quantized before a unit, float after it."""

import pytest
import torch
from mmengine.registry import MODELS
from reconstruction import ToyAdapter, images, toy_context

from mmptq.ptq import ActivationCache, FisherImportance
from mmptq.ptq.recording.recorder import record_calls
from mmptq.ptq.teacher.gradients import Gradients
from mmptq.ptq.teacher.task_objective import TaskObjective, given_outputs
from mmptq.ptq.teacher.teacher_outputs import TeacherOutputs
from mmptq.ptq.units.find import find_units
from mmptq.quantization import QuantizationError, quantizers_off

LOSS = dict(type='DetectionOutputLoss', score_thr=0.01)


@pytest.fixture
def parts(tmp_path):
    ctx = toy_context(tmp_path)
    for parameter in ctx.model.parameters():
        parameter.requires_grad_(False)
    samples = ActivationCache(2**20, tmp_path)
    for data in ctx.loader:
        samples.append(data)
    units = find_units(ctx.model, lambda: ctx.predict(samples[0]))
    layers = [layer for unit in units for layer in unit.layers.values()]
    loss = MODELS.build(LOSS)
    teacher = TeacherOutputs(ctx.model, ToyAdapter(ctx.model), loss, samples, 2**20)
    task = TaskObjective(teacher, layers)
    return ctx.model, {unit.name: unit for unit in units}, task


def test_float_outputs_of_the_first_unit_give_zero(parts):
    model, units, task = parts
    with quantizers_off(model):
        outputs = [model.stem(images()[0])]
    assert task(units['stem'], 0, outputs).item() == pytest.approx(0, abs=1e-6)
    assert task(units['stem'], 0, None) > 0
    assert all(m.weight_quantizer.enabled for m in units['stem'].layers.values())


@torch.no_grad()
def test_finished_units_stay_quantized(parts):
    model, units, task = parts
    seen = {}

    def watch(name, module):
        module.register_forward_hook(lambda *_: seen.update({name: slot.enabled}))
        slot = module.weight_quantizer

    for unit in units.values():
        for name, layer in unit.layers.items():
            watch(name, layer)
    task.finish(units['stem'])
    task(units['blocks.0'], 0, None)
    quantized = {name for name, enabled in seen.items() if enabled}
    assert quantized == {'stem.0', 'blocks.0.conv1', 'blocks.0.conv2'}


def test_gradient_reaches_given_outputs(parts):
    model, units, task = parts
    with torch.no_grad():
        outputs = model.blocks[0](model.stem(images()[0]))
    leaf = outputs.clone().requires_grad_()
    task(units['blocks.0'], 0, [leaf.clone()]).backward()
    assert leaf.grad.abs().sum() > 0


def test_importance_has_mean_one_and_a_floor(parts, tmp_path):
    model, units, task = parts
    with torch.no_grad():
        outputs = [model.blocks[0](model.stem(images()[0]))]
    gradients = Gradients(2**20, tmp_path)
    gradients.append('blocks.0', 0, task.gradients(units['blocks.0'], 0, outputs))
    found = []
    for floor in (0.0, 1.0):
        importance = FisherImportance(LOSS, floor)
        importance.fit(gradients)
        found += importance.weights('blocks.0', 0, 0)
    plain, raised = found
    assert plain.shape == outputs[0].shape
    assert plain.mean().item() == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(raised, (plain + 1) / 2)
    # Squared gradients, by hand.
    leaf = outputs[0].clone().requires_grad_()
    task(units['blocks.0'], 0, [leaf.clone()]).backward()
    torch.testing.assert_close(plain, leaf.grad.square() / leaf.grad.square().mean())


def test_nothing_found_is_one_sentence(parts):
    model, units, task = parts
    loss = MODELS.build(dict(type='DetectionOutputLoss', score_thr=0.999))
    options = dict(samples=task.teacher.samples, budget_bytes=1000)
    with pytest.raises(QuantizationError, match='no target in 6 of 6 calibration samples'):
        TeacherOutputs(model, task.teacher.adapter, loss, required=True, **options)
    teacher = TeacherOutputs(model, task.teacher.adapter, loss, **options)
    assert teacher.found == [] and teacher.target(0) is None and teacher.parts(0, None) == {}


def test_given_outputs_are_taken_in_order_and_undone():
    module = torch.nn.Identity()
    with given_outputs(module, ['a', 'b']):
        assert [module(1), module(2)] == ['a', 'b']
    assert module(3) == 3
    assert 'forward' not in module.__dict__


@pytest.mark.parametrize('name', ['stem', 'blocks.1', 'bbox_head'])
def test_replaying_changes_neither_loss_nor_gradient(parts, name):
    model, units, task = parts
    unit, calls = units[name], []
    for other in units.values():
        if other is unit:
            break
        task.finish(other)
    with torch.no_grad():
        inputs = record_calls(unit.module, lambda: model(images()[3]), 1)[0].args

    def loss_and_gradient():
        leaf = inputs[0][0] if name == 'bbox_head' else inputs[0]
        leaf = leaf.clone().requires_grad_()
        args = [leaf, *inputs[0][1:]] if name == 'bbox_head' else leaf
        loss = task(unit, 3, [unit.module(args)])
        loss.backward()
        return loss.detach(), leaf.grad

    expected = loss_and_gradient()
    with task.replaying(unit, 2**20):
        handle = model.stem[0].register_forward_hook(lambda *_: calls.append('ran'))
        found = loss_and_gradient()
        handle.remove()
    assert all(map(torch.equal, expected, found))
    # What is before the unit is replayed; the stem itself runs when its inputs are made.
    assert calls == (['ran'] if name == 'stem' else [])

"""Gradients at a unit without what lies before it are those of whole forwards, bit by bit."""

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import MODELS
from reconstruction import BasicBlock, ToyAdapter, ToyDetector, images, toy_context

from mmptq.ptq import ActivationCache
from mmptq.ptq.recording.unit_gradients import UnitGradients
from mmptq.ptq.recording.unit_recorder import UnitRecorder
from mmptq.ptq.teacher.task_objective import TaskObjective
from mmptq.ptq.teacher.teacher_outputs import TeacherOutputs
from mmptq.ptq.units.find import find_units
from mmptq.ptq.units.unit_objective import UnitObjective
from mmptq.quantization import quantized_layers
from mmptq.utils.hooks import replaced_forwards

NUM = 3


def noting(layer, name, ran):
    """The forward of a layer, which notes that it ran."""
    forward = layer.forward

    def run(*args):
        ran.append(name)
        return forward(*args)

    return run


def compared(tmp_path, model, granularity, budget=2**20):
    """For each unit: its name, gradients from it and from whole forwards, layers that ran."""
    ctx = toy_context(tmp_path, model, images(NUM))
    for parameter in ctx.model.parameters():
        parameter.requires_grad_(False)
    samples = ActivationCache(2**20, tmp_path)
    for data in ctx.loader:
        samples.append(data, exact=True)
    adapter = ToyAdapter(ctx.model)
    units = find_units(ctx.model, lambda: ctx.predict(samples[0]), granularity)
    loss = MODELS.build(dict(type='DetectionOutputLoss', score_thr=0.01))
    teacher = TeacherOutputs(ctx.model, adapter, loss, samples, 2**20)
    task = TaskObjective(teacher, [layer for unit in units for layer in unit.layers.values()])
    names = {layer: name for name, layer in quantized_layers(ctx.model).items()}
    run = adapter.raw_outputs
    with UnitRecorder(ctx.model, samples, run, False, True, units, budget) as recorder:
        for unit in units:
            objective = UnitObjective(unit, unit.module)
            gradients = UnitGradients(unit, task, recorder)
            for index, entry in enumerate(recorder.record_unit(unit)):
                ran: list[str] = []
                with torch.no_grad():
                    outputs = objective.outputs(entry, 0.0)
                forwards = {layer: noting(layer, names[layer], ran) for layer in names}
                with replaced_forwards(forwards):
                    found = gradients.of(index, outputs)
                yield unit.name, index, found, task.gradients(unit, index, outputs), ran
            for layer in unit.layers.values():  # stands in for learning
                layer.weight_quantizer.scale.mul_(1.3)
            recorder.finish(unit)
            task.finish(unit)


@pytest.fixture
def messages(monkeypatch):
    found = []
    MMLogger.get_instance('test_reconstruction')
    monkeypatch.setattr(MMLogger.get_current_instance(), 'warning', found.append)
    return found


@pytest.mark.parametrize('granularity', ['layer', 'block'])
@pytest.mark.parametrize('budget', [2**20, 1])
def test_what_lies_before_a_unit_does_not_run(tmp_path, granularity, budget, messages):
    layers = list(quantized_layers(toy_context(tmp_path, batches=images(1)).model))
    for name, index, found, expected, ran in compared(tmp_path, None, granularity, budget):
        for x, y in zip(found, expected, strict=True):
            assert all(map(torch.equal, x, y))
        if index:  # the first sample is that of the comparison
            own = {layer for layer in layers if f'{layer}.'.startswith(f'{name}.')}
            later = layers[max(map(layers.index, own)) + 1 :]
            assert set(ran) == set(later)
    assert not messages


class Counted(BasicBlock):
    """Knows how often it ran."""

    count = 0

    def forward(self, x):
        self.count += 1
        return super().forward(x)


class Counting(ToyDetector):
    """What it returns depends on whether the first block ran, which no tensor tells."""

    def __init__(self):
        super().__init__()
        self.blocks[0] = Counted(8)

    def forward(self, inputs, mode='predict', data_samples=None):
        self.blocks[0].count = 0
        x = self.blocks(self.stem(inputs))
        x = x * (1.0 if self.blocks[0].count else 2.0)
        return self.bbox_head([x, x[..., ::2, ::2]])


def test_other_gradients_mean_whole_forwards(tmp_path, messages):
    for *_, found, expected, _ in compared(tmp_path, Counting(), 'block'):
        for x, y in zip(found, expected, strict=True):
            assert all(map(torch.equal, x, y))
    assert any("importance at 'blocks.1' takes whole forwards" in text for text in messages)

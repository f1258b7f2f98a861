"""What a unit is trained on, for modules called several times and dropped inputs."""

import pytest
import torch
from reconstruction import ToyDetector, images, toy_context

from mmptq.ptq import ActivationCache, Reconstructor
from mmptq.ptq.recording.unit_data import join, mix_arguments
from mmptq.ptq.recording.unit_recorder import UnitRecorder
from mmptq.ptq.units.find import find_units
from mmptq.quantization import quantizers_off
from mmptq.report import read_record


@pytest.fixture
def ctx(tmp_path):
    return toy_context(tmp_path)


def recorder(ctx):
    samples = ActivationCache(2**20, ctx.work_dir)
    for data in ctx.loader:
        samples.append(data)
    units = find_units(ctx.model, lambda: ctx.predict(samples[0]))
    result = UnitRecorder(ctx.model, samples, ctx.predict, True)
    return result, {unit.name: unit for unit in units}


@torch.no_grad()
def test_quantized_prefix_and_float_target(ctx):
    record, units = recorder(ctx)
    entry = record.record(units['blocks.1'], 2)
    model, x = ctx.model, images()[2]
    quantized = model.blocks[0](model.stem(x))
    with quantizers_off(model):
        original = model.blocks[0](model.stem(x))
        target = model.blocks[1](original.clone())
    assert torch.equal(entry['input'][0][0][0], quantized)
    assert torch.equal(entry['float_input'][0][0][0], original)
    assert torch.equal(entry['target'][0], target)
    assert entry['sample'] == 2


@torch.no_grad()
def test_every_call_of_a_module(ctx):
    record, _ = recorder(ctx)
    units = find_units(ctx.model, lambda: ctx.predict(record.samples[0]), 'layer')
    tower = next(unit for unit in units if unit.name == 'bbox_head.tower')
    entry = record.record(tower, 0)
    assert [tuple(x.shape) for x in entry['target']] == [(1, 8, 12, 12), (1, 8, 6, 6)]
    assert len(entry['input']) == len(entry['float_input']) == 2


def test_inputs_of_other_shapes_are_refused(tmp_path):
    class Chooser(ToyDetector):
        def forward(self, inputs, mode='predict', data_samples=None):
            x = self.stem(inputs)
            # As proposals do: how much comes out depends on the numbers.
            exact = torch.equal(self.stem[0].input_quantizer(inputs), inputs)
            return self.bbox_head([self.blocks(x if exact else x[..., :6, :6])])

    from mmptq.quantization import QuantizationError

    ctx = toy_context(tmp_path)
    ctx.model.__class__ = Chooser
    record, units = recorder(ctx)
    with pytest.raises(QuantizationError, match="inputs of 'bbox_head' have other shapes"):
        record.record(units['bbox_head'], 0)


def test_dropping_nothing_and_everything():
    first = ((torch.zeros(400), torch.tensor([3])), dict(x=torch.zeros(400)))
    second = ((torch.ones(400), torch.tensor([3])), dict(x=torch.ones(400)))
    args, kwargs = mix_arguments(first, second, 0.0)
    assert args[0].sum() == kwargs['x'].sum() == 0
    args, kwargs = mix_arguments(first, second, 1.0)
    assert args[0].sum() == kwargs['x'].sum() == 400
    torch.manual_seed(0)
    args, _ = mix_arguments(first, second, 0.25)
    assert 60 < args[0].sum() < 140
    assert args[1].item() == 3


def entry(value, size=2, extra=None):
    x = torch.full((1, 1, size, size), float(value))
    return dict(sample=value, input=[((x, extra), {})], target=[x])


def test_samples_of_one_size_become_a_batch():
    (joined,) = join([entry(1), entry(2), entry(3)])
    assert joined['input'][0][0][0][:, 0, 0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize('other', [entry(2, size=3), entry(2, extra=1), entry(2, extra=object())])
def test_other_samples_stay_apart(other):
    assert len(join([entry(1), other])) == 2


def test_a_unit_with_inputs_of_other_shapes_is_left_alone(tmp_path):
    class Chooser(ToyDetector):
        def forward(self, inputs, mode='predict', data_samples=None):
            x = self.stem(inputs)
            exact = torch.equal(self.stem[0].input_quantizer(inputs), inputs)
            return self.bbox_head([self.blocks(x if exact else x[..., :6, :6])])

    ctx = toy_context(tmp_path)
    ctx.model.__class__ = Chooser
    Reconstructor(num_iters=2, batch_size=1).run(ctx)
    rows = read_record(tmp_path, 'reconstruction')
    notes = {row['unit']: row['note'] for row in rows}
    assert notes['stem'] == ''
    assert notes['bbox_head'] == (
        "left alone: inputs of 'bbox_head' have other shapes in the quantized model than in the "
        'float model'
    )
    assert ctx.model.bbox_head.tower.weight_quantizer.rounding is None

"""Units recorded one after the other, as a Reconstructor does, beside whole forwards."""

import torch

from mmptq.ptq import ActivationCache
from mmptq.ptq.recording.unit_recorder import UnitRecorder
from mmptq.ptq.units.find import find_units
from mmptq.quantization import quantized_layers
from mmptq.utils.hooks import replaced_forwards
from mmptq.utils.trees import flatten


class Counted:
    """Counts the samples that each layer of a model computes."""

    def __init__(self, model):
        self.counts = dict.fromkeys(quantized_layers(model), 0)
        self.forwards = {m: self._counting(name, m) for name, m in quantized_layers(model).items()}

    def _counting(self, name, module):
        forward = module.forward

        def run(*args):
            self.counts[name] += 1
            return forward(*args)

        return run

    def __enter__(self):
        self.context = replaced_forwards(self.forwards)
        self.context.__enter__()
        return self

    def __exit__(self, *error):
        self.context.__exit__(*error)


def change(unit):
    """Stands in for learning: from now on the unit gives something else."""
    for layer in unit.layers.values():
        for slot in (layer.weight_quantizer, layer.input_quantizer):
            slot.scale.mul_(1.3)


def recorded(ctx, granularity, keep_target=True, budget=2**20, whole=True):
    """Yields each unit with what is recorded of it, and what whole forwards give."""
    samples = ActivationCache(2**20, ctx.work_dir)
    for data in ctx.loader:
        samples.append(data, exact=True)
    units = find_units(ctx.model, lambda: ctx.predict(samples[0]), granularity)
    args = ctx.model, samples, ctx.predict, True, keep_target
    with UnitRecorder(*args, units, budget) as recorder:
        for unit in units:
            entries = list(recorder.record_unit(unit))
            reference = UnitRecorder(*args)
            full = [reference.record(unit, i) for i in range(len(samples))] if whole else None
            yield unit, entries, full
            change(unit)
            recorder.finish(unit)


def assert_same(first, second):
    tensors, structures = zip(*(flatten(entries) for entries in (first, second)), strict=True)
    assert str(structures[0]) == str(structures[1])
    assert all(torch.equal(x, y) for x, y in zip(*tensors, strict=True))

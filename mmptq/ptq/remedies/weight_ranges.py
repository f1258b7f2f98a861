"""For weights of few bits the range that suits the layer's output best."""

from typing import Any

import torch

from mmptq.ptq import parallel
from mmptq.ptq.search.lp_candidates import LayerInputs
from mmptq.ptq.search.output_search import search_output
from mmptq.quantization import FakeQuantizer, QuantMixin, quantizers_off
from mmptq.utils.hooks import temporary_hooks

from .tuning import Tuning

# Weights with at least this many bits have nothing to gain.
ENOUGH_BITS = 8
NUM_SAMPLES = 4
NUM_CANDIDATES, SMALLEST = 40, 0.3


def choose_weight_ranges(tuning: Tuning) -> None:
    """Try, for each weight of fewer than 8 bits, the range with the smallest error of the output.

    Each output channel finds its own fraction of the min-max range.
    """
    layers = {
        name: state.module
        for name, state in tuning.ctx.layers.items()
        if isinstance(state.module.weight_quantizer, FakeQuantizer)
        and state.module.weight_quantizer.scheme.bits < ENOUGH_BITS
    }
    if not layers:
        return

    def change() -> list[str]:
        fractions = torch.linspace(1.0, SMALLEST, NUM_CANDIDATES, dtype=torch.float64, device='cpu')
        found = _inputs(tuning, layers)
        with quantizers_off(tuning.ctx.model):
            for name, inputs in found.items():
                scales = search_output(layers[name], inputs.calls, [2.0], fractions)
                layers[name].weight_quantizer.set_qparams(*scales[2.0])
        return list(found)

    if tuning.attempt('weight range by the error of the output', change):
        tuning.refresh()


def _inputs(tuning: Tuning, layers: dict[str, QuantMixin]) -> dict[str, LayerInputs]:
    """Crops of the float inputs of each layer that ran with one positional argument."""
    positions = tuning.ctx.positions(NUM_SAMPLES)
    found = {layer: LayerInputs(layer, set(range(len(positions)))) for layer in layers.values()}
    own = parallel.shard_indices(range(len(parallel.shard(positions))))
    sample = [0]

    def take(layer: QuantMixin, args: tuple, kwargs: dict[str, Any]) -> None:
        if args and not kwargs:
            found[layer].take(sample[0], args)

    hooks = temporary_hooks(before=dict.fromkeys(found, take), with_kwargs=True)
    with quantizers_off(tuning.ctx.model), hooks:
        batches = tuning.ctx.batches('weight ranges', NUM_SAMPLES)
        for index, data in zip(own, batches, strict=True):
            sample[0] = index
            tuning.ctx.predict(data)
    for layer, inputs in found.items():
        inputs.merge(layer.weight.device)
    return {name: found[layer] for name, layer in layers.items() if found[layer].calls}

"""Which layers are most sensitive to an output in 8 bits."""

from collections.abc import Callable

import numpy as np
import onnx
from torch import Tensor

from mmptq.deploy.export_profile import ExportProfile
from mmptq.deploy.graph.extra_quantizers import integer_layers, place_extra_quantizers
from mmptq.deploy.graph.graph import Graph
from mmptq.deploy.graph.qdq import TensorQParams
from mmptq.ptq.search.sensitivity import measure_sensitivity

from .observe import open_unoptimized, runtime_errors
from .parity import SignalToNoise

SAMPLES = 2


def most_sensitive_outputs(
    graph: Graph,
    profile: ExportProfile,
    observe: Callable[..., dict[str, TensorQParams]],
    inputs: list[Tensor],
    count: int,
) -> list[str]:
    """The layers whose 8-bit outputs move the outputs of the network most.

    Each layer in turn is the only one with a quantized output, in float arithmetic. The measure is
    the ratio of noise to signal, summed over the outputs of the network.

    Args:
        graph (Graph): With pairs on layer inputs; not changed.
        profile (ExportProfile): What the backend wants.
        observe (Callable): Finds scales of tensors from calibration data.
        inputs (list[Tensor]): Calibration inputs; the first two are used.
        count (int): How many layers to name.

    Returns:
        list[str]: Output tensors of these layers, the most sensitive first.
    """
    model = graph.finish()
    layers = integer_layers(_copy(model), profile)
    known = place_extra_quantizers(_copy(model), profile, observe)
    arrays = [x.detach().cpu().numpy() for x in inputs[:SAMPLES]]

    def outputs(float_outputs: set[str]) -> list[list[np.ndarray]]:
        variant = _copy(model)
        place_extra_quantizers(
            variant, profile, lambda names, _=None: {n: known[n] for n in names}, float_outputs
        )
        session = open_unoptimized(variant, [])
        with runtime_errors():
            name = session.get_inputs()[0].name
            return [session.run(graph.outputs, {name: x}) for x in arrays]

    reference = outputs(set(layers))
    noise = measure_sensitivity(
        {layer: {layer} for layer in layers},
        lambda quantized: _relative_noise(reference, outputs(set(layers) - quantized)),
    )
    return sorted(layers, key=lambda layer: -noise[layer])[:count]


def _copy(model: onnx.ModelProto) -> Graph:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return Graph(copy)


def _relative_noise(reference: list[list[np.ndarray]], values: list[list[np.ndarray]]) -> float:
    meters = [SignalToNoise() for _ in reference[0]]
    for sample, changed in zip(reference, values, strict=True):
        for meter, expected, value in zip(meters, sample, changed, strict=True):
            meter.update(expected, value)
    return sum(meter.noise / max(meter.signal, 1e-30) for meter in meters)

"""All pairs that a backend wants besides those on layer inputs, on a graph or on copies of it."""

from collections.abc import Collection
from typing import Any

import onnx
from torch import Tensor

from mmptq.deploy.export_profile import ExportProfile
from mmptq.deploy.graph.even_outputs import (
    observe_even_outputs,
    outputs_before_multipliers,
    place_even_outputs,
)
from mmptq.deploy.graph.extra_quantizers import integer_layers, place_extra_quantizers
from mmptq.deploy.graph.graph import Graph

from .observe import make_observe


class BackendPairs:
    """Places the pairs of a backend; all scales are observed once, on the graph without them.

    Args:
        graph (Graph): With pairs on layer inputs; not changed.
        profile (ExportProfile): What the backend wants.
        inputs (list[Tensor]): Calibration inputs of the graph.

    Attributes:
        even (dict[str, EvenOutput]): Layer outputs that are quantized with even channels.
        observed (dict[str, TensorQParams]): Scales and zero points of the others, by tensor.
        candidates (list[str]): Layer outputs that may stay float.
    """

    def __init__(self, graph: Graph, profile: ExportProfile, inputs: list[Tensor]):
        self.profile = profile
        self._model = _copy(graph.finish())
        names = outputs_before_multipliers(graph) if profile.even_outputs else []
        self.even = observe_even_outputs(graph, profile, names, inputs)
        layers = integer_layers(self._graph(), profile)
        self.candidates = [name for name in layers if name not in self.even] + list(self.even)
        observe = make_observe(graph, profile, inputs)
        self.observed = place_extra_quantizers(self._graph(), profile, observe, self.even)

    def placed(self, float_outputs: Collection[str] = ()) -> Graph:
        """A copy of the graph with all pairs.

        Args:
            float_outputs (Collection[str]): Layer outputs that stay float, together with all
                tensors computed from them up to the next layer.
        """
        graph = self._graph()
        known = self._known
        place_extra_quantizers(graph, self.profile, known, {*float_outputs, *self.even})
        wanted = {name: x for name, x in self.even.items() if name not in float_outputs}
        place_even_outputs(graph, wanted)
        return graph

    def _known(self, tensors: list[str], act: dict[str, Any] | None = None) -> dict:
        return {name: self.observed[name] for name in tensors}

    def _graph(self) -> Graph:
        return Graph(_copy(self._model))


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy

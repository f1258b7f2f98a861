"""Edits of an ONNX graph, by the names of its tensors."""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import NodeProto, numpy_helper


class Graph:
    """An ONNX model as a list of nodes that know their neighbours.

    Args:
        model (onnx.ModelProto): Edited in place, by ``finish``.

    Attributes:
        nodes (list[NodeProto]): In any order until ``finish``. Names of their tensors change
            through the methods of the graph only, which knows who takes what.
        outputs (list[str]): Names of the outputs of the graph.
    """

    def __init__(self, model: onnx.ModelProto):
        self.model = model
        self.nodes: list[NodeProto] = list(model.graph.node)
        self.outputs = [output.name for output in model.graph.output]
        self._arrays = {tensor.name: tensor for tensor in model.graph.initializer}
        self._makers: dict[str, NodeProto] = {}
        self._takers: dict[str, list[NodeProto]] = {}
        self._indexed = False

    def producer(self, tensor: str) -> NodeProto | None:
        """The node that makes a tensor; None for inputs and constants."""
        self._index()
        return self._makers.get(tensor)

    def consumers(self, tensor: str) -> list[NodeProto]:
        """The nodes that take a tensor, each once."""
        self._index()
        return list(self._takers.get(tensor, ()))

    def _index(self) -> None:
        """Find out again who makes and takes what, after names have changed."""
        if not self._indexed:
            self._makers, self._takers, self._indexed = {}, {}, True
            for node in self.nodes:
                self._enter(node)

    def _enter(self, node: NodeProto) -> None:
        for name in node.output:
            self._makers.setdefault(name, node)
        for name in dict.fromkeys(node.input):
            self._takers.setdefault(name, []).append(node)

    def of_type(self, *kinds: str) -> Iterator[NodeProto]:
        """The nodes of some operator types."""
        return (node for node in list(self.nodes) if node.op_type in kinds)

    def is_constant(self, tensor: str) -> bool:
        """Whether a tensor is stored in the file."""
        return tensor in self._arrays

    def array(self, tensor: str) -> np.ndarray | None:
        """Values of a stored tensor, or None where it is computed."""
        stored = self._arrays.get(tensor)
        return None if stored is None else numpy_helper.to_array(stored)

    def store(self, name: str, array: np.ndarray) -> str:
        """Store an array under a name; returns the name."""
        self._arrays[name] = numpy_helper.from_array(np.array(array, order='C'), name)
        return name

    def add(self, kind: str, inputs: list[str], output: str, **attributes) -> str:
        """Add a node with one output; returns the name of the output."""
        node = onnx.helper.make_node(kind, inputs, [output], name=output, **attributes)
        self.nodes.append(node)
        if self._indexed:
            self._enter(node)
        return output

    def insert(self, node: NodeProto) -> None:
        """Add a node that was made elsewhere."""
        self.nodes.append(node)
        self._indexed = False

    def remove(self, node: NodeProto) -> None:
        """Remove a node; its output is left without a producer."""
        self.nodes = [other for other in self.nodes if other is not node]
        self._indexed = False

    def set_input(self, node: NodeProto, index: int, tensor: str) -> None:
        """Let a node take another tensor."""
        node.input[index] = tensor
        self._indexed = False

    def set_output(self, node: NodeProto, tensor: str) -> None:
        """Let the first output of a node have another name; nothing else changes."""
        node.output[0] = tensor
        self._indexed = False

    def rewire(self, old: str, new: str, consumers: list[NodeProto] | None = None) -> None:
        """Let consumers (default: all) of one tensor take another one."""
        for node in self.consumers(old) if consumers is None else consumers:
            for index, name in enumerate(node.input):
                if name == old:
                    self.set_input(node, index, new)

    def rename(self, old: str, new: str) -> None:
        """Give a computed tensor another name, for its producer and all its consumers."""
        for node in self.nodes:
            for index, name in enumerate(node.output):
                if name == old:
                    node.output[index] = new
        self._indexed = False
        self.rewire(old, new)

    def bypass(self, node: NodeProto) -> None:
        """Remove a node that passes its first input on, such as Identity."""
        source, output = node.input[0], node.output[0]
        self.remove(node)
        if output in self.outputs:
            self.rewire(source, output, self.consumers(source))
            self.rename(source, output)
        else:
            self.rewire(output, source)

    def with_outputs(self, tensors: list[str]) -> onnx.ModelProto:
        """A copy of the model, which also gives some of its inner float tensors as outputs."""
        model = onnx.ModelProto()
        model.CopyFrom(self.finish())
        for name in tensors:
            if name not in self.outputs:
                value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
                model.graph.output.append(value)
        return model

    def finish(self) -> onnx.ModelProto:
        """Drop what no output needs, sort, and write everything back into the model."""
        self.nodes, self._indexed = self._sorted(), False
        needed = set(self.outputs).union(*(node.input for node in self.nodes))
        self._arrays = {name: tensor for name, tensor in self._arrays.items() if name in needed}
        graph = self.model.graph
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(self.nodes)
        graph.initializer.extend(self._arrays.values())
        return self.model

    def _sorted(self) -> list[NodeProto]:
        """The nodes that outputs need, each after the ones that it needs."""
        order, done = [], set()
        by_output = {name: node for node in self.nodes for name in node.output}
        stack = [(name, False) for name in reversed(self.outputs)]
        while stack:
            name, visited = stack.pop()
            node = by_output.get(name)
            if node is None or id(node) in done:
                continue
            if visited:
                done.add(id(node))
                order.append(node)
                continue
            stack.append((name, True))
            stack.extend((source, False) for source in reversed(node.input))
        return order


def attribute(node: NodeProto, name: str, default=None):
    """Value of an attribute of a node, or the default."""
    for item in node.attribute:
        if item.name == name:
            value = onnx.helper.get_attribute_value(item)
            return value.decode() if isinstance(value, bytes) else value
    return default

"""Quantizers for tensors that are not layer inputs, so that no float islands remain.

Engines run additions, concatenations and poolings in integers only between quantized tensors, and
some run a convolution in integers only when its output is quantized too. Where a quantizer can be
moved through an operator without changing a number, no error is added: rounding to a grid commutes
with everything that only selects, copies or reorders values.
"""

from collections.abc import Callable, Collection

from onnx import NodeProto

from mmptq.deploy.export_profile import ExportProfile

from .activation_matmuls import is_activation_matmul, quantize_matmul_rhs
from .graph import Graph, attribute
from .qdq import LAYERS, TensorQParams, insert_pair, is_dequantized, qparams_of

# These select or reorder values; Resize only does so by nearest neighbours.
SELECTING = ('Concat', 'MaxPool', 'Resize', 'Reshape', 'Transpose', 'Flatten', 'DepthToSpace')
# Engines compute these inside of the layer before.
FUSED = ('Relu', 'Clip')
PAIR = ('QuantizeLinear', 'DequantizeLinear')


def place_extra_quantizers(
    graph: Graph,
    profile: ExportProfile,
    observe: Callable[..., dict[str, TensorQParams]],
    float_outputs: Collection[str] = (),
) -> dict[str, TensorQParams]:
    """Insert the pairs that a backend wants besides those on layer inputs.

    Args:
        graph (Graph): With pairs on layer inputs.
        profile (ExportProfile): What the backend wants.
        observe (Callable): Finds scales of tensors from calibration data.
        float_outputs (Collection[str]): Layer outputs that stay float, together with all tensors
            computed from them up to the next layer.

    Returns:
        dict[str, TensorQParams]: The observed scales and zero points, by tensor.
    """
    share_qparams(graph, profile)
    seconds = quantize_matmul_rhs(graph, profile, observe)
    wanted = find_wanted(graph, profile, float_outputs)
    observed = observe([tensor for tensor in wanted if not qparams_of(graph, tensor)])
    for tensor, consumers in wanted.items():
        qparams = (qparams_of(graph, tensor) or [observed.get(tensor)])[0]
        _quantize_for(graph, tensor, qparams, consumers)
    share_qparams(graph, profile)
    if profile.one_grid_per_tensor:
        chain_qparams(graph)
    return {**seconds, **observed}


def share_qparams(graph: Graph, profile: ExportProfile) -> None:
    """Carry grids over operators that select values, to their inputs and to their outputs."""
    changed = True
    while changed:
        changed = False
        for node in graph.of_type(*SELECTING):
            if len(node.output) > 1:  # a pooling with a second output, the positions
                continue
            changed |= _share_backward(graph, profile, node) or _share_forward(graph, node)


def _is_exact(node: NodeProto) -> bool:
    return node.op_type != 'Resize' or attribute(node, 'mode', 'nearest') == 'nearest'


def _data_inputs(node: NodeProto) -> list[str]:
    return list(node.input) if node.op_type == 'Concat' else [node.input[0]]


def _fits(graph: Graph, profile: ExportProfile, tensor: str, qparams: TensorQParams) -> bool:
    """Whether a tensor may take the grid of a tensor computed from it.

    An engine that runs layers between integers only takes a ReLU for the lower end of the grid,
    so its result needs a grid that begins at zero.
    """
    producer = graph.producer(tensor)
    fused = producer is not None and producer.op_type in FUSED
    return not (profile.quantize_layer_outputs and fused and qparams.zero_point != 0)


def _share_backward(graph: Graph, profile: ExportProfile, node: NodeProto) -> bool:
    """Give the inputs of a node the grid of its output, if that has exactly one."""
    found_qparams = qparams_of(graph, node.output[0])
    if len(found_qparams) != 1 or not _is_exact(node):
        return False
    floating = [
        name
        for name in _data_inputs(node)
        if not is_dequantized(graph, name) and _fits(graph, profile, name, found_qparams[0])
    ]
    for name in floating:
        own = qparams_of(graph, name)
        graph.rewire(name, insert_pair(graph, name, own[0] if own else found_qparams[0]), [node])
    return bool(floating)


def _share_forward(graph: Graph, node: NodeProto) -> bool:
    """Give the output of a node the grid of its only input."""
    (output,), inputs = node.output, _data_inputs(node)
    if qparams_of(graph, output) or len(inputs) != 1 or output in graph.outputs:
        return False
    producer = graph.producer(inputs[0])
    if producer is None or producer.op_type != 'DequantizeLinear':
        return False
    source = graph.producer(producer.input[0])
    (qparams,) = qparams_of(graph, source.input[0])[:1]
    consumers = graph.consumers(output)
    graph.rewire(output, insert_pair(graph, output, qparams), consumers)
    return True


def integer_layers(graph: Graph, profile: ExportProfile) -> list[str]:
    """Results of the layers whose outputs get a pair of their own; the graph is changed."""
    share_qparams(graph, profile)
    wanted = find_wanted(graph, profile)
    return [n.output[0] for n in graph.of_type(*LAYERS) if result_of(graph, n) in wanted]


def find_wanted(
    graph: Graph, profile: ExportProfile, float_outputs: Collection[str] = ()
) -> dict[str, list[NodeProto] | None]:
    """Tensors that get a pair, with the nodes that take it there; None for all nodes.

    Only operators whose inputs all come from integer layers count: a pair on one side of a float
    operator would cost accuracy and time. What only a float layer takes gets no pair either: the
    scheme keeps that input as it is.
    """
    integer: set[str] = set()
    wanted: dict[str, list[NodeProto] | None] = {}
    kept = tensors_kept_float(graph).union(float_outputs)
    for node in graph.nodes:
        inputs = _data_inputs(node) if node.op_type in SELECTING else list(node.input)
        if node.output[0] in kept:
            continue
        if node.op_type in LAYERS:
            product = profile.activation_matmuls and is_activation_matmul(graph, node)
            if product:
                wanted.update({name: None for name in inputs if not is_dequantized(graph, name)})
            if product or all(is_dequantized(graph, name) for name in inputs[:2]):
                integer.update(node.output)
                if profile.quantize_layer_outputs:
                    wanted[result_of(graph, node)] = None
        elif node.op_type in (*FUSED, *PAIR, *SELECTING):
            if inputs[0] in integer or is_dequantized(graph, inputs[0]):
                integer.update(node.output)
        elif node.op_type in profile.quantized_ops and all(name in integer for name in inputs):
            integer.update(node.output)
            _want_inputs(graph, profile, node, wanted)
            if profile.quantize_layer_outputs:
                wanted[result_of(graph, node)] = None
    return {name: nodes for name, nodes in wanted.items() if not _stays_float(graph, profile, name)}


def tensors_kept_float(graph: Graph) -> set[str]:
    """Tensors between a layer and what takes them in float: float layers and sampling coordinates.

    Quantizing the input of a layer with a stored, unquantized weight would undo what keeping that
    layer float is for: in YOLOX-nano the stem's output, whose channels no single grid can hold,
    goes to a depthwise convolution that stays float. Coordinates in 8 bits would sample features
    several pixels away: the priors of CLRNet, which later stages sample along.
    """
    tensors = [
        node.input[0]
        for node in graph.nodes
        if node.op_type in LAYERS and graph.is_constant(node.input[1])
    ]
    tensors += [node.input[1] for node in graph.of_type('GridSample')]
    found: set[str] = set()
    while tensors:
        tensor = tensors.pop()
        producer = graph.producer(tensor)
        if tensor in found or producer is None or producer.op_type in PAIR:
            continue
        found.add(tensor)
        if producer.op_type not in LAYERS:
            tensors.extend(producer.input)
    return found


def _stays_float(graph: Graph, profile: ExportProfile, tensor: str) -> bool:
    """Whether a tensor is a result of the network that the profile leaves alone."""
    if profile.float_head_channels is None:
        return tensor in graph.outputs
    if not _is_last(graph, tensor):
        return False
    producer = graph.producer(tensor)
    if producer.op_type in FUSED:
        producer = graph.producer(producer.input[0])
    if producer.op_type not in LAYERS:
        return False
    return _output_channels(graph, producer) <= profile.float_head_channels


def _is_last(graph: Graph, tensor: str) -> bool:
    """Whether no later layer uses a tensor, directly or indirectly."""
    seen, waiting = set(), [tensor]
    while waiting:
        name = waiting.pop()
        for node in graph.consumers(name):
            if node.op_type in (*LAYERS, *PAIR):
                return False
            waiting.extend(output for output in node.output if output not in seen)
            seen.update(node.output)
    return True


def _output_channels(graph: Graph, layer: NodeProto) -> int:
    weight = graph.array(graph.producer(layer.input[1]).input[0])
    first = layer.op_type == 'Conv' or (layer.op_type == 'Gemm' and attribute(layer, 'transB', 0))
    # A transposed convolution stores (in, out, ...).
    return weight.shape[0 if first else 1]


def _want_inputs(graph: Graph, profile: ExportProfile, node: NodeProto, wanted: dict) -> None:
    inputs = list(node.input)
    if profile.float_fused_addend and node.op_type == 'Add':
        # The engine adds the other operand inside of the layer that makes this one.
        fused = [name for name in inputs if _is_fused_layer(graph, name)]
        inputs = [name for name in inputs if name not in fused[-1:]]
    for name in inputs:
        if wanted.get(name, []) is not None:
            wanted[name] = [*wanted.get(name, []), node]


def _is_fused_layer(graph: Graph, tensor: str) -> bool:
    producer = graph.producer(tensor)
    alone = len(graph.consumers(tensor)) == 1
    return producer is not None and producer.op_type in LAYERS and alone


def result_of(graph: Graph, node: NodeProto) -> str:
    """The output of a node, or of the activation that is computed inside of it."""
    consumers = graph.consumers(node.output[0])
    if len(consumers) == 1 and consumers[0].op_type in FUSED:
        return consumers[0].output[0]
    return node.output[0]


def _quantize_for(
    graph: Graph, tensor: str, qparams: TensorQParams, consumers: list[NodeProto] | None
) -> None:
    if consumers is None:
        consumers = [n for n in graph.consumers(tensor) if n.op_type != 'QuantizeLinear']
        if tensor in graph.outputs:
            # The file's output keeps its name and becomes the dequantized tensor.
            inner = f'{tensor}_float'
            graph.rename(tensor, inner)
            graph.rename(insert_pair(graph, inner, qparams), tensor)
            return
    if consumers:
        graph.rewire(tensor, insert_pair(graph, tensor, qparams), consumers)


def chain_qparams(graph: Graph) -> None:
    """Where a tensor is quantized to several grids, quantize it to the others from the first.

    A kernel writes its result in one grid; with several the engine would write floats.
    """
    for tensor in {name for node in graph.of_type('QuantizeLinear') for name in node.input[:1]}:
        nodes = [n for n in graph.consumers(tensor) if n.op_type == 'QuantizeLinear']
        if len(nodes) > 1 and graph.producer(tensor) is not None:
            (first,) = graph.consumers(nodes[0].output[0])[:1]
            graph.rewire(tensor, first.output[0], nodes[1:])

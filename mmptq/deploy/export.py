"""Writes a quantized detector as a file for an inference engine, after a check in that engine."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import torch
from mmengine.logging import MMLogger
from torch import Tensor, nn

from mmptq.deploy.end_to_end import decoding_of
from mmptq.deploy.engines import find_engine
from mmptq.deploy.engines.packages import require_package
from mmptq.deploy.graph.even_silu import split_even_silus
from mmptq.deploy.graph.graph import Graph
from mmptq.deploy.graph.multipliers import fold_multipliers
from mmptq.deploy.graph.per_level_qparams import place_per_level_qparams
from mmptq.deploy.graph.qdq import (
    TensorQParams,
    insert_pair,
    place_layer_quantizers,
    quantize_biases,
    separate_biases,
)
from mmptq.deploy.graph.transposed_conv import unfold_transposed_convs
from mmptq.ptq.inputs.model_inputs import device_of
from mmptq.quantization import (
    FakeQuantizer,
    QuantizationError,
    product_quantizers,
    quantized_layers,
)
from mmptq.quantization.placement import LayerPlan
from mmptq.version import __version__

from .backend_pairs import BackendPairs
from .engine_check import EngineCheck
from .export_profile import ExportProfile
from .exported_subgraph import ExportedSubgraph, parts_of
from .file_form import FileForm
from .metadata import check_model
from .observe import make_observe
from .onnx_export import export_marked
from .opset import FLOAT16_SCALES
from .parity import MIN_DECIBEL
from .query_detector import is_query_detector
from .raw_images import METADATA_KEY as RAW_IMAGES
from .sensitivity import choose_float_outputs
from .write_file import PARITY_SAMPLES, write_file

# Float arithmetic in another order leaves 80 to 150 dB.
FLOAT_DECIBEL = 50.0


@contextmanager
def on_cpu(detector: nn.Module) -> Iterator[None]:
    """Within this context a detector is on the CPU, where files are made and checked."""
    device = device_of(detector)
    detector.to('cpu')
    try:
        yield
    finally:
        detector.to(device)


def check_exportable(detector: nn.Module, layers: list[LayerPlan], profile: ExportProfile) -> None:
    """Check before any work that the backend can run how the detector is quantized.

    Args:
        detector (nn.Module): Quantized.
        layers (list[LayerPlan]): Its plan.
        profile (ExportProfile): What the backend wants.

    Raises:
        QuantizationError: For a layer that is not calibrated or has a scheme that the backend does
            not support, and where no layer is quantized or a package is missing.
    """
    prefixes = tuple(f'{name}.' for name in parts_of(detector))
    inside = [layer for layer in layers if layer.name.startswith(prefixes)]
    if not any(layer.quantized for layer in inside):
        raise QuantizationError(
            'no layer between backbone and head is quantized: quantize with tools/ptq.py first'
        )
    slots = [
        (name, slot)
        for name, layer in quantized_layers(detector).items()
        for slot in (layer.weight_quantizer, layer.input_quantizer)
    ]
    for name, slot in [*slots, *product_quantizers(detector).items()]:
        if isinstance(slot, FakeQuantizer) and not slot.calibrated:
            raise QuantizationError(
                f"'{name}' was never calibrated: quantize again with tools/ptq.py"
            )
    profile.limits.check(inside)
    for package in ('onnx', 'onnxruntime'):
        require_package(package)


@torch.no_grad()
def build_model(
    detector: nn.Module,
    profile: ExportProfile,
    inputs: list[Tensor],
    dynamic: bool,
    float_outputs: int | None = 0,
    opset: int | None = None,
    open_batch: bool | None = None,
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """The ONNX model with all pairs in place, and the scales that were observed for it.

    Args:
        detector (nn.Module): Quantized and frozen, in eval mode.
        profile (ExportProfile): What the backend wants.
        inputs (list[Tensor]): Calibration inputs of the subgraph.
        dynamic (bool): Whether the input size is left open.
        float_outputs (int, optional): How many layers keep a float output where the backend wants
            8 bits; None stands for as many as are needed, see ``choose_float_outputs``.
        opset (int, optional): See ``export_marked``.
        open_batch (bool, optional): Whether the number of images is left open. Defaults to None:
            as ``dynamic``.

    Returns:
        tuple: The model; scale, zero point and sign by tensor, as plain data.
    """
    subgraph = ExportedSubgraph(detector).eval()
    float16 = profile.float16_remainder and (opset is None or opset >= FLOAT16_SCALES)
    lowest = max(profile.lowest_opset, FLOAT16_SCALES if float16 else 0)
    model = export_marked(
        *(subgraph, inputs[0], dynamic, profile.unsupported_ops, opset, lowest),
        open_batch=open_batch,
    )
    graph = Graph(model)
    quantizers = {
        name: module
        for name, module in subgraph.named_modules()
        if isinstance(module, FakeQuantizer)
    }
    calls = place_layer_quantizers(graph, quantizers)
    narrowed = place_per_level_qparams(graph, calls, quantizers, inputs)
    if profile.unfold_transposed_convs:
        unfold_transposed_convs(graph)
    fold_multipliers(graph)
    if profile.integer_silu:
        narrowed.update(place_even_silus(graph, profile, inputs))
    graph.finish()
    pairs = BackendPairs(graph, profile, inputs)
    graph = pairs.placed(choose_float_outputs(pairs, inputs, float_outputs))
    (quantize_biases if profile.int32_bias else separate_biases)(graph)
    model = graph.finish()
    if float16:
        model = to_float16(model)
    for entry in list(model.opset_import):
        if entry.domain:
            model.opset_import.remove(entry)
    check_model(model)
    return model, {name: vars(qparams) for name, qparams in {**narrowed, **pairs.observed}.items()}


def place_even_silus(
    graph: Graph, profile: ExportProfile, inputs: list[Tensor]
) -> dict[str, TensorQParams]:
    """Keep SiLU before channel multipliers in integers; returns the scales observed for it."""
    observed = make_observe(graph, profile, inputs)(split_even_silus(graph))
    for tensor, qparams in observed.items():
        graph.rewire(tensor, insert_pair(graph, tensor, qparams), graph.of_type('Mul', 'Conv'))
    return observed


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model in float16 wherever it is float, between float32 inputs and outputs.

    Engines with strongly typed networks compute what is not quantized in the types of the file.
    Scales become float16 too, because they set the type of what is dequantized: scales below 6e-5
    lose digits.
    """
    require_package('onnxruntime')
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # one for every small number
        return Graph(convert_float_to_float16(model, keep_io_types=True)).finish()


@torch.no_grad()
def export_quantized(
    detector: nn.Module,
    profile: ExportProfile,
    inputs: list[Tensor],
    path: str | Path,
    metadata: dict[str, Any],
    form: FileForm | None = None,
    min_decibel: float = MIN_DECIBEL,
) -> list[dict[str, Any]]:
    """Write a file for a backend, after a check that its engine computes the same.

    Args:
        detector (nn.Module): Quantized and frozen, in eval mode.
        profile (ExportProfile): What the backend wants.
        inputs (list[Tensor]): Calibration inputs of the subgraph, see ``subgraph_inputs``.
        path (str | Path): ``.onnx``, or for OpenVINO also ``.xml``.
        metadata (dict): Plain data to store in the file.
        form (FileForm, optional): What the file takes and gives. Defaults to ``FileForm()``.
        min_decibel (float): Smallest signal-to-noise that is accepted.

    Returns:
        list[dict]: The parity table.

    Raises:
        QuantizationError: If an operator or the engine fails, or the outputs differ.
    """
    path, engine, form = Path(path), find_engine(profile.engine), _possible(form, detector)
    if path.suffix not in engine.suffixes:
        raise QuantizationError(
            f"output file '{path}' must end in {' or '.join(engine.suffixes)} for {profile.name}"
        )
    batches = form.batches([x.detach().cpu() for x in inputs])
    with on_cpu(detector):
        model, observed = build_model(
            *(detector, profile, batches, form.dynamic, form.float_outputs, form.opset),
            open_batch=form.open_batch,
        )
        metadata = dict(metadata, backend=profile.name, observed=observed)
        return _write(model, detector, profile.engine, batches, path, metadata, form, min_decibel)


@torch.no_grad()
def export_float(
    detector: nn.Module,
    inputs: list[Tensor],
    path: str | Path,
    form: FileForm | None = None,
    metadata: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Write the network of a float detector, after a check in ONNX Runtime.

    Args:
        detector (nn.Module): In eval mode.
        inputs (list[Tensor]): Inputs of the subgraph, see ``subgraph_inputs``.
        path (str | Path): ``.onnx``.
        form (FileForm, optional): What the file takes and gives. Defaults to ``FileForm()``.
        metadata (dict, optional): Plain data to store in the file.

    Returns:
        list[dict]: The parity table.
    """
    form = _possible(form, detector)
    batches = form.batches([x.detach().cpu() for x in inputs])
    with on_cpu(detector):
        model = export_marked(
            *(ExportedSubgraph(detector).eval(), batches[0], form.dynamic),
            opset=form.opset,
            open_batch=form.open_batch,
        )
        check_model(model)
        engine = 'onnxruntime'
        return _write(
            *(model, detector, engine, batches, Path(path), metadata or {}, form),
            min_decibel=FLOAT_DECIBEL,
        )


def _possible(form: FileForm | None, detector: nn.Module) -> FileForm:
    """The form that a file of this detector can have."""
    form = form or FileForm()
    if form.dynamic and is_query_detector(detector):
        MMLogger.get_current_instance().info(
            'the positions of a transformer become constants: the input size is fixed to that of '
            'the first sample'
        )
        return replace(form, dynamic=False)
    return form


def _write(
    model: onnx.ModelProto,
    detector: nn.Module,
    engine: str,
    batches: list[Tensor],
    path: Path,
    metadata: dict[str, Any],
    form: FileForm,
    min_decibel: float = MIN_DECIBEL,
) -> list[dict[str, Any]]:
    subgraph = ExportedSubgraph(detector).eval()
    check = EngineCheck(subgraph, engine, form, batches[:PARITY_SAMPLES], min_decibel)
    metadata = dict(metadata, mmptq_version=__version__, engine=engine)
    decoding = None
    if form.raw is not None:
        metadata[RAW_IMAGES] = form.raw.describe()
    if form.end_to_end:
        subgraph(batches[0])  # finds how the outputs nest
        decoding = decoding_of(detector, subgraph.structure, form.dynamic)
    return write_file(model, check, path, metadata, decoding)

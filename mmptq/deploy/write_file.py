"""The last steps of an export: the form of the file, its checks in the engine, and its writing."""

import tempfile
from pathlib import Path
from typing import Any

import onnx
import torch

from mmptq.deploy.end_to_end import (
    METADATA_KEY,
    DenseDecoding,
    attach_decoding,
    check_detections,
)
from mmptq.deploy.engines import find_engine

from .engine_check import EngineCheck
from .metadata import add_metadata, check_model
from .onnx_export import open_axes

PARITY_SAMPLES = 4


@torch.no_grad()
def write_file(
    model: onnx.ModelProto,
    check: EngineCheck,
    path: Path,
    metadata: dict[str, Any],
    decoding: DenseDecoding | None = None,
) -> list[dict[str, Any]]:
    """Give a network its form, and write it after a check in its engine.

    Args:
        model (onnx.ModelProto): From the input of the network to its raw head outputs.
        check (EngineCheck): Knows the engine, the form and the samples.
        path (Path): Appears only when it is complete.
        metadata (dict): Plain data to store in the file.
        decoding (DenseDecoding, optional): What is put behind the head outputs.

    Returns:
        list[dict]: The parity table of the head outputs.

    Raises:
        QuantizationError: If the engine fails or computes something else; nothing is written.
    """
    if check.form.raw is not None:
        check.form.raw.attach(model)
    add_metadata(model, metadata)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, 'model.onnx')
        onnx.save(model, file)
        rows = check.check(file)
        open_batch = check.form.open_batch and check.takes_two_images(file)
        if check.form.open_batch and not open_batch:
            fix_batch(model)
        if decoding is not None:
            found = check.outputs(file)
            axes = open_axes(check.form.dynamic, open_batch)
            raw = tuple(check.subgraph(check.inputs[0]))
            attach_decoding(model, decoding, check.inputs[0], raw, axes)
            check_model(model)
            onnx.save(model, file)
            add_metadata(model, {METADATA_KEY: _compare(check, decoding, file, found)})
        onnx.save(model, file)
        find_engine(check.engine).write(file, path)
    return rows


def _compare(
    check: EngineCheck, decoding: DenseDecoding, file: Path, head_outputs: list
) -> dict[str, Any]:
    simulated = [list(check.subgraph(check.seen(x))) for x in check.inputs]
    sizes = [tuple(x.shape[-2:]) for x in check.inputs]
    shares = check_detections(
        decoding, check.subgraph.structure, check.outputs(file), head_outputs, simulated, sizes
    )
    return dict(
        boxes='(B, N, 4) x1 y1 x2 y2 in pixels of the input',
        scores='(B, N), the best first; 0 where there is no detection',
        labels='(B, N) index of the class; -1 where there is no detection',
        clips=decoding.clips,
        **vars(decoding.suppression),
        check=shares,
    )


def fix_batch(model: onnx.ModelProto) -> None:
    """Let a file with an open batch take one image, in place."""
    for entry in (*model.graph.input, *model.graph.output):
        for dim in entry.type.tensor_type.shape.dim:
            if dim.dim_param == 'batch':
                dim.dim_value = 1

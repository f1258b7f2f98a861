"""Other tools' post-training quantization of an exported float network, with their defaults."""

import logging
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mmptq.deploy.engines import find_engine
from mmptq.deploy.engines.openvino_engine import write_openvino
from mmptq.deploy.engines.packages import require_package
from mmptq.quantization import QuantizationError


def quantize_with_onnxruntime(float_file: Path, inputs: list[np.ndarray], out: Path) -> None:
    """Static QDQ quantization as the documentation of ONNX Runtime advises for x86 with VNNI.

    The graph is optimised first (``quant_pre_process``); uint8 activations, int8 weights per
    channel, the default min-max calibration.
    """
    require_package('onnxruntime')
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self._feeds = iter([{'input': x} for x in inputs])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._feeds, None)

    prepared = out.with_suffix('.prepared.onnx')
    quant_pre_process(str(float_file), str(prepared), skip_symbolic_shape=True)
    quantization.quantize_static(
        str(prepared),
        str(out),
        Reader(),
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    prepared.unlink()
    copy_metadata(float_file, out)


def quantize_with_nncf(
    float_file: Path, inputs: list[np.ndarray], out: Path, preset: str = 'performance'
) -> None:
    """``nncf.quantize`` with its defaults, in the format that the suffix of ``out`` names.

    Args:
        float_file (Path): ONNX.
        inputs (list[np.ndarray]): Calibration samples.
        out (Path): The new file.
        preset (str): 'mixed' gives activations a zero point. Defaults to 'performance', NNCF's own.
    """
    try:
        os.environ.setdefault('NNCF_CI', '1')  # no usage statistics
        import nncf
    except ImportError as error:
        raise QuantizationError(
            f"'nncf' is not installed ({error}): run `pip install nncf`"
        ) from error
    nncf.set_log_level(logging.ERROR)
    options = dict(subset_size=len(inputs), preset=nncf.QuantizationPreset(preset))
    onnx = require_package('onnx')
    if out.suffix == '.onnx':
        model = onnx.load(float_file)
        data = nncf.Dataset(inputs, lambda x: {'input': x})
        onnx.save(nncf.quantize(model, data, **options), out)
        copy_metadata(float_file, out)
        return
    openvino = require_package('openvino')
    quantized = nncf.quantize(openvino.convert_model(float_file), nncf.Dataset(inputs), **options)
    entries = {entry.key: entry.value for entry in onnx.load(float_file).metadata_props}
    write_openvino(quantized, entries, out)


def copy_metadata(source: Path, target: Path) -> None:
    """Give a file what ``tools/test.py`` has to know of it."""
    onnx: Any = require_package('onnx')
    model = onnx.load(target)
    del model.metadata_props[:]
    model.metadata_props.extend(onnx.load(source).metadata_props)
    onnx.save(model, target)


def peer_file(folder: Path, peer: str) -> Path:
    """Where the file of a peer goes, in the format of its engine."""
    return folder / f'{peer}{find_engine(PEERS[peer][0]).suffixes[-1]}'


# By the name in tables: the engine that runs the file, and the function that makes it.
PEERS = {
    'onnxruntime.quantization': ('onnxruntime', quantize_with_onnxruntime),
    'nncf-onnx': ('onnxruntime', quantize_with_nncf),
    'nncf': ('openvino', quantize_with_nncf),
    'nncf-mixed': ('openvino', partial(quantize_with_nncf, preset='mixed')),
}

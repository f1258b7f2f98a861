"""What a file says of itself, and whether it is valid."""

import json
from typing import Any

import onnx

from mmptq.quantization import QuantizationError
from mmptq.utils.messages import first_line


def add_metadata(model: onnx.ModelProto, metadata: dict[str, Any]) -> None:
    """Store plain data in an ONNX model, each value as JSON."""
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, json.dumps(value)


def check_model(model: onnx.ModelProto) -> None:
    """Raise QuantizationError where a model breaks the rules of ONNX."""
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise QuantizationError(
            f'the ONNX file would not be valid ({first_line(error)}): choose another --opset or '
            'backend'
        ) from error

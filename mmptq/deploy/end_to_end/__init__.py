"""Boxes, scores and labels from a file: decoding and suppression as operators of ONNX."""

from .attach import attach_decoding
from .check import check_detections
from .decoding import OUTPUTS, DenseDecoding, decoding_of, require_decoding
from .detections import LEAST_SHARE, Share, from_file
from .detector import METADATA_KEY, replace_predictions

__all__ = [
    'LEAST_SHARE',
    'METADATA_KEY',
    'OUTPUTS',
    'DenseDecoding',
    'Share',
    'attach_decoding',
    'check_detections',
    'decoding_of',
    'from_file',
    'replace_predictions',
    'require_decoding',
]

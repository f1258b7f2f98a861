"""What a quantized layer is; pure torch."""

from .errors import QuantizationError
from .functional import choose_qparams, dequantize, fake_quantize, lp_error, quantize
from .scheme import QScheme

__all__ = [
    'QScheme',
    'QuantizationError',
    'choose_qparams',
    'dequantize',
    'fake_quantize',
    'lp_error',
    'quantize',
]

"""mmengine glue."""

from .checkpoint import load_quantized
from .ptq_loop import PTQLoop
from .quantization_hook import QuantizationHook

__all__ = ['PTQLoop', 'QuantizationHook', 'load_quantized']

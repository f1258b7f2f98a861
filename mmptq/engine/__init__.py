"""mmengine glue."""

from .checkpoint import load_quantized
from .ptq_loop import PTQLoop
from .quantization_hook import QuantizationHook
from .sad_hook import SADHook

__all__ = ['PTQLoop', 'QuantizationHook', 'SADHook', 'load_quantized']

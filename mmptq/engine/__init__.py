"""mmengine glue."""

from .checkpoint import load_quantized
from .ptq_loop import PTQLoop
from .quantization_hook import QuantizationHook
from .replica import Replica

__all__ = ['PTQLoop', 'QuantizationHook', 'Replica', 'load_quantized']

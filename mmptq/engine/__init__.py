"""mmengine glue."""

from .build import build_model, load_model
from .load_weights import load_quantized
from .ptq_loop import PTQLoop
from .quantization_hook import QuantizationHook
from .replica import Replica

__all__ = ['PTQLoop', 'QuantizationHook', 'Replica', 'build_model', 'load_model', 'load_quantized']

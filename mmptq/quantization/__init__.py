"""What a quantized layer is; pure torch (mmcv and spconv layers only where installed)."""

from mmptq.utils.errors import QuantizationError

from .convert import (
    apply_plan,
    freeze,
    quantized_layers,
    quantizers_off,
    rebuild,
)
from .coverage import coverage_rows
from .fake_quantizer import FakeQuantizer
from .functional import (
    choose_qparams,
    dequantize,
    fake_quantize,
    lp_error,
    mix,
    quantize,
    random_mask,
)
from .layers import QUANT_LAYERS, QuantMixin
from .layers.products import product_quantizers
from .packed_state import model_size
from .plan import QuantPlan, make_plan
from .rounding import HardRounding, SoftRounding
from .scheme import QScheme

__all__ = [
    'QUANT_LAYERS',
    'FakeQuantizer',
    'HardRounding',
    'QScheme',
    'QuantMixin',
    'QuantPlan',
    'QuantizationError',
    'SoftRounding',
    'apply_plan',
    'choose_qparams',
    'coverage_rows',
    'dequantize',
    'fake_quantize',
    'freeze',
    'lp_error',
    'make_plan',
    'mix',
    'model_size',
    'product_quantizers',
    'quantize',
    'quantized_layers',
    'quantizers_off',
    'random_mask',
    'rebuild',
]

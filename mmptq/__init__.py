"""mmptq: post-training quantization for MMDetection and MMDetection3D models.

Importing it checks the environment and registers every component, so that one line in a config,
``custom_imports = dict(imports=['mmptq'])``, is all that the stock tools need.
"""

from .compat import apply_patches
from .compat.env import check_environment
from .version import __version__

check_environment()
apply_patches()

from . import (  # noqa: E402
    adapters,  # noqa: F401
    datasets,  # noqa: F401
    engine,  # noqa: F401
    evaluation,  # noqa: F401
    lanes,  # noqa: F401
    losses,  # noqa: F401
    observers,  # noqa: F401
    ptq,  # noqa: F401
)
from .api import load, quantize  # noqa: E402

__all__ = ['__version__', 'load', 'quantize']

"""mmptq: post-training quantization for MMDetection and MMDetection3D models.

Importing it checks the environment and registers every component, so that one line in a config,
``custom_imports = dict(imports=['mmptq'])``, is all that the stock tools need.
"""

from .utils.env import check_environment
from .utils.safe_globals import register_safe_globals

__version__ = '0.1.0'

check_environment()
register_safe_globals()

from . import (  # noqa: E402
    adapters,  # noqa: F401
    datasets,  # noqa: F401
    engine,  # noqa: F401
    evaluation,  # noqa: F401
    losses,  # noqa: F401
    models,  # noqa: F401
    observers,  # noqa: F401
    ptq,  # noqa: F401
)

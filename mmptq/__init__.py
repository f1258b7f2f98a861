"""mmptq: post-training quantization for MMDetection and MMDetection3D models.

Importing it checks the environment and registers every component, so that one line in a config,
``custom_imports = dict(imports=['mmptq'])``, is all that the stock tools need.
"""

from .utils.env import check_environment
from .utils.safe_globals import register_safe_globals

__version__ = '0.1.0'

check_environment()
register_safe_globals()

from . import adapters, datasets, engine, evaluation, models, observers, ptq  # noqa: E402, F401 (they register)

"""``_base_ = 'mmptq::_base_/schemes/int8.py'``: mmengine knows only packages of OpenMMLab."""

from collections.abc import Callable

from mmengine.config import Config

from mmptq.utils.config_files import config_path

from .patches import replace_attribute

PREFIX = 'mmptq::'


def register_config_scope() -> Callable[[], None]:
    """Let ``_base_`` name configs of mmptq, in any config that is read after ``import mmptq``.

    mmengine resolves ``PACKAGE::PATH`` for a fixed table of packages. It also marks what it finds
    with the package as a registry scope; mmptq registers in mmengine's own registries and has no
    scope, so its configs are read like files.

    Returns:
        Callable: Undoes it.
    """
    original = Config._get_cfg_path

    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if cfg_path.startswith(PREFIX):
            return config_path(cfg_path), None
        return original(cfg_path, filename)

    return replace_attribute(Config, '_get_cfg_path', staticmethod(get_cfg_path))

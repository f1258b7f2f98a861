"""Models from configs, for every tool, as mmengine's runner builds them."""

import copy
from pathlib import Path

from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from mmengine.utils import import_modules_from_strings
from torch import nn

from mmptq.quantization import QuantizationError

from .checkpoint import plan_of, read_checkpoint
from .load_weights import load_weights


def enter_scope(cfg: Config) -> None:
    """Import what a config asks for, and set the scope in which its types are looked up.

    Args:
        cfg (Config): Without ``default_scope`` its types are looked up in mmengine's own
            registries; a scope of None, as in configs that name classes, leaves it as it is.
    """
    imports = dict(cfg.get('custom_imports') or {})
    if imports.get('imports'):
        import_modules_from_strings(**imports)
    scope = cfg.get('default_scope', 'mmengine')
    if scope is not None:
        init_default_scope(scope)


def build_model(cfg: Config) -> nn.Module:
    """The model of a config with random weights; nothing is downloaded.

    Args:
        cfg (Config): Of any form that mmengine's runner accepts; it is not changed.

    Returns:
        nn.Module: In eval mode.
    """
    enter_scope(cfg)
    model = cfg.get('model')
    if model is None:
        raise QuantizationError("the config has no 'model': give the config of a detector")
    if not isinstance(model, nn.Module):
        model = copy.deepcopy(model)  # some models change their config
        if cfg.get('data_preprocessor') is not None:
            model.setdefault('data_preprocessor', copy.deepcopy(cfg.data_preprocessor))
        model = MODELS.build(model)
    return revert_sync_batchnorm(model).eval()


def load_model(cfg: Config, path: str | Path, quantized: bool | None = None) -> nn.Module:
    """The model of a config with the weights of a checkpoint.

    Args:
        cfg (Config): Any config of the model; what it says of quantization is not used.
        path (str | Path): The weights; a quantized checkpoint describes its quantizers itself.
        quantized (bool, optional): What the checkpoint has to be. Defaults to None: either.

    Returns:
        nn.Module: In eval mode.

    Raises:
        QuantizationError: If the checkpoint is of the other kind, or does not fit the model.
    """
    checkpoint = read_checkpoint(path)
    found = plan_of(checkpoint) is not None
    if quantized is not None and found != quantized:
        said = 'quantized: give the float one' if found else 'float: give the quantized one'
        raise QuantizationError(f"checkpoint '{path}' is {said}")
    model = build_model(cfg)
    load_weights(model, checkpoint)
    return model

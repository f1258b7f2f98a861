"""What trains in a float config has no part in PTQ, nor in a test of its result."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, EMAHook, Hook, ProfilerHook
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn

from mmptq.utils.models import unwrap

# Keys of a config that mmengine's runner reads when it trains.
SWITCHES = ('compile', 'efficient_conv_bn_eval', 'activation_checkpointing', 'sync_bn')
# Keys of the train_cfg of mmengine's train loops.
LOOP_KEYS = (
    'by_epoch',
    'max_epochs',
    'max_iters',
    'val_begin',
    'val_interval',
    'dynamic_intervals',
)
# Hooks that keep, average or choose float weights, or count epochs.
HOOKS_OF_TRAINING = (CheckpointHook, EMAHook, EarlyStoppingHook, ProfilerHook)


def prepare_config(cfg: Config) -> None:
    """Take what only a training does out of a config, in place.

    Args:
        cfg (Config): Of a PTQ run, or of a test of its result: it neither resumes a training nor
            reports to a service that watches trainings.
    """
    cfg.resume = False
    for key in SWITCHES:
        cfg.pop(key, None)
    if _name_of(cfg.get('runner_type')) == 'FlexibleRunner':  # shards a training over GPUs
        cfg.pop('runner_type')
        cfg.pop('strategy', None)
    visualizer = cfg.get('visualizer')
    if isinstance(visualizer, dict) and visualizer.get('vis_backends'):
        visualizer['vis_backends'] = [dict(type='LocalVisBackend')]
    if cfg.get('custom_hooks'):
        cfg.custom_hooks = [hook for hook in cfg.custom_hooks if not is_of_training(hook)]
    for name, hook in list((cfg.get('default_hooks') or {}).items()):
        if is_of_training(hook):
            del cfg.default_hooks[name]


def is_of_training(hook: Any) -> bool:
    """Whether a hook, or the config of one, has no part in PTQ: see ``HOOKS_OF_TRAINING``."""
    kind = hook.get('type') if isinstance(hook, dict) else type(hook)
    if _name_of(kind) == 'MeanTeacherHook':
        return True
    if isinstance(kind, str):
        kind = HOOKS.get(kind)
    return isinstance(kind, type) and issubclass(kind, HOOKS_OF_TRAINING)


def _name_of(kind: Any) -> str:
    """Name of a class, or what names one in a config."""
    return str(getattr(kind, '__name__', kind)).rpartition('.')[2]


def leave_training(runner: Runner) -> None:
    """Take everything that trains out of a runner, before it builds any of it.

    Args:
        runner (Runner): Whose train loop is about to be built.
    """
    # The runner builds an optimizer wherever there is a train loop. That of the float config may
    # need a GPU (AmpOptimWrapper), a package of its own, or parameters that are not frozen.
    unused = torch.optim.SGD([nn.Parameter(torch.zeros((), device='cpu'))], lr=0.0)
    runner.optim_wrapper = OptimWrapper(unused)
    runner.param_schedulers = runner.auto_scale_lr = None
    runner._resume = False
    for key in SWITCHES:
        runner.cfg.pop(key, None)
    _replace(runner, [hook for hook in runner.hooks if is_of_training(hook)])


def drop_model_copies(runner: Runner) -> None:
    """Replace hooks that hold a copy of the model by one that does nothing, with a warning.

    Such a hook puts its float weights into the model before each evaluation.
    """
    model = unwrap(runner.model)
    copies = [hook for hook in runner.hooks if _holds_copy(hook, model)]
    for hook in copies:
        runner.logger.warning(
            f"hook '{type(hook).__name__}' is left out: it holds a float copy of the model, which "
            'is not that of the quantized one'
        )
    _replace(runner, copies)


def _replace(runner: Runner, hooks: list[Hook]) -> None:
    # In their places: the runner may be walking over the list.
    for index, hook in enumerate(runner.hooks):
        if any(hook is other for other in hooks):
            runner.hooks[index] = nothing = Hook()
            nothing.priority = getattr(hook, 'priority', nothing.priority)


def _holds_copy(hook: Hook, model: nn.Module) -> bool:
    """Whether modules or tensors that a hook keeps are those of a model, but not the model."""
    own = {id(module) for module in model.modules()}
    names = {name for name, _ in model.named_parameters()}
    for value in _values(vars(hook)):
        if isinstance(value, nn.Module) and id(unwrap(value)) not in own:
            found = {name.removeprefix('module.') for name, _ in value.named_parameters()}
        elif isinstance(value, Mapping):
            found = {name for name, item in value.items() if isinstance(item, Tensor)}
        else:
            continue
        if len(found & names) > len(names) / 2:
            return True
    return False


def _values(data: Any, depth: int = 3) -> Iterator[Any]:
    """Nested values of attributes, lists and dicts."""
    yield data
    if depth and isinstance(data, (Mapping, list, tuple)):
        for item in data.values() if isinstance(data, Mapping) else data:
            yield from _values(item, depth - 1)

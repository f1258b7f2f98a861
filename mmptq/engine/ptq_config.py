"""Configs of PTQ runs."""

from mmengine.config import Config

from mmptq.quantization import QuantizationError

from .checkpoint import plan_of, read_checkpoint


def prepare_runner_config(cfg: Config, checkpoint: str | None) -> None:
    """Set what a runner with a PTQ loop asks for besides the PTQ config."""
    cfg.load_from = checkpoint or cfg.get('load_from')
    # The runner asks for an optimizer wherever there is a train loop; it is not used.
    cfg.setdefault('optim_wrapper', dict(optimizer=dict(type='SGD', lr=0.0)))
    cfg.param_scheduler = None
    cfg.auto_scale_lr = None
    # Without a seed the runner would draw one, and every run other calibration samples.
    cfg.randomness = dict(dict(seed=0), **(cfg.get('randomness') or {}))


def make_ptq_config(cfg: Config) -> None:
    """Turn a float config into one that any stock tool can test the result with."""
    imports = (cfg.get('custom_imports') or {}).get('imports', [])
    imports = [name for name in imports if name != 'mmptq'] + ['mmptq']
    cfg.custom_imports = dict(imports=imports, allow_failed_imports=False)
    cfg.custom_hooks = [dict(type='QuantizationHook')]
    cfg.train_cfg = dict(type='PTQLoop')


def check_config(cfg: Config) -> None:
    """Refuse what would fail only after minutes of work."""
    for key in ('model', 'train_dataloader', 'val_dataloader', 'val_evaluator'):
        if not cfg.get(key):
            raise QuantizationError(
                f"the config has no '{key}': PTQ calibrates on the train data and evaluates on "
                'the validation data of the config'
            )
    if (cfg.get('train_cfg') or {}).get('type') != 'PTQLoop':
        raise QuantizationError(
            "the config is a float one (train_cfg is not dict(type='PTQLoop')): name a scheme and "
            'a recipe with --scheme and --recipe'
        )
    if not cfg.load_from:
        raise QuantizationError(
            'there is no float checkpoint: give one after the config or set load_from'
        )
    if '://' not in cfg.load_from and plan_of(read_checkpoint(cfg.load_from)) is not None:
        raise QuantizationError(
            f"checkpoint '{cfg.load_from}' is quantized already: give the float checkpoint, or "
            'test this one with tools/test.py'
        )

"""Small float detectors and data that tests quantize."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import Registry

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / 'tools' / 'benchmarks'))  # some tools use others

QUANTIZER = dict(
    weight=dict(bits=8, symmetric=True, signed=True, narrow=True, per_channel=True),
    act=dict(bits=8),
    rules=[],
)


def ptq_settings(config: str | Path, scheme: str, recipe: str, *options: str) -> Config:
    """What tools/ptq.py makes of a float config, a scheme, a recipe and other arguments."""
    from mmptq.engine.ptq_config import add_ptq_arguments, ptq_config
    from mmptq.utils.cli import make_parser

    parser = make_parser('')
    add_ptq_arguments(parser)
    arguments = [str(config), '--scheme', scheme, '--recipe', recipe, *options]
    return ptq_config(parser.parse_args(arguments))


def tiny_config(data_root: Path, work_dir: Path) -> Config:
    """PTQ config of a RetinaNet on tiny generated data; no checkpoint yet."""
    cfg = Config.fromfile(ROOT / 'configs/minmax/retinanet_r18_fpn_minmax_int8_demo-coco.py')
    annotations = str(data_root / 'annotations/instances_{}.json')
    for split in ('train', 'val'):
        loader = cfg[f'{split}_dataloader']
        loader.dataset.data_root = str(data_root)
        loader.update(num_workers=0, persistent_workers=False)
        cfg[f'{split}_dataloader'] = loader
    cfg.val_evaluator.ann_file = annotations.format('val')
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    cfg.model.backbone.base_channels = 8
    cfg.model.neck.update(in_channels=[8, 16, 32, 64], out_channels=16)
    cfg.model.bbox_head.update(in_channels=16, feat_channels=16)
    cfg.model.test_cfg.update(score_thr=0.0, max_per_img=10)
    cfg.work_dir = str(work_dir)
    cfg.calibration = dict(num_samples=4)
    cfg.load_from = None
    cfg.randomness = dict(seed=0)
    return cfg


def make_ordinary(path: Path, **changes) -> Config:
    """Rewrite a PTQ config as an ordinary float config, with nothing of mmptq in it."""
    cfg = Config.fromfile(path)
    for key in (
        'quantizer',
        'stages',
        'custom_hooks',
        'custom_imports',
        'load_from',
        'calibration',
    ):
        cfg.pop(key)
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1)
    cfg.update(changes)
    cfg.dump(path)
    return cfg


def save_float_checkpoint(cfg: Config, path: Path) -> None:
    """Random weights and plausible BatchNorm statistics of the config's model, seeded."""
    from mmdet.registry import MODELS
    from mmengine.registry import init_default_scope

    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    for name, buffer in model.named_buffers():
        if name.endswith('running_var'):
            buffer.uniform_(0.5, 1.5)
        elif name.endswith('running_mean'):
            buffer.normal_(0, 0.1)
    for name, parameter in model.named_parameters():
        if 'retina_cls.weight' in name or 'retina_reg.weight' in name:
            torch.nn.init.normal_(parameter, std=0.3)
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, path)


def load_tool(name: str) -> ModuleType:
    """``tools/NAME.py`` as a module."""
    (path,) = (ROOT / 'tools').rglob(f'{name}.py')
    if str(path.parent) not in sys.path:  # as Python itself does for a script
        sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location(f'tool_{name}', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_tool(name: str, *args: str) -> None:
    """Run ``tools/NAME.py`` in this process with these arguments."""
    module = load_tool(name)
    argv, sys.argv = sys.argv, [f'tools/{name}.py', *map(str, args)]
    try:
        module.main()
    finally:
        sys.argv = argv


def error_of(name: str, *args: str) -> str:
    """The one sentence that a tool ends with."""
    with pytest.raises(SystemExit) as stop:
        run_tool(name, *args)
    message = str(stop.value.code)
    assert message.startswith('error: ')
    assert '\n' not in message
    return message


def write_result(work_dir: Path, result: dict) -> None:
    """The ``run.json`` of a run with this result, as tools read it."""
    from mmptq.ptq.run_record import RUN_FILE, RunRecord

    RunRecord(work_dir / RUN_FILE, 0, torch.device('cpu')).add('result', result, None)


def registered(registry: Registry) -> list[type]:
    """Classes of mmptq in a registry; other tests of the process may have added their own."""
    classes = {id(cls): cls for cls in registry.module_dict.values()}.values()
    return [c for c in classes if isinstance(c, type) and c.__module__.startswith('mmptq.')]


def pipeline_of(dataset: dict) -> list[dict] | None:
    """The pipeline of a dataset config, the first one that is found inside of wrappers."""
    from mmptq.ptq.inputs.pipelines import pipeline_leaves

    return next((leaf['pipeline'] for leaf in pipeline_leaves(dataset)), None)


def as_test_dataset(dataset: dict, pipeline: list[dict]) -> dict:
    """The config of a train dataset as calibration turns it, with one pipeline for all inside."""
    from mmptq.ptq.inputs.train_dataset import with_pipelines

    return with_pipelines(dataset, lambda: pipeline, None)

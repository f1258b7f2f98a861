"""Runners and configs of tests, for checkpoints of any kind."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner

from mmptq.ptq import parallel
from mmptq.quantization import QuantizationError
from mmptq.utils.cli import build_runner
from mmptq.utils.files import complete_file

from .quantization_hook import QuantizationHook
from .training import prepare_config


def runner_of_test(cfg: Config, checkpoint: str) -> Runner:
    """The runner that tests a checkpoint, float or quantized.

    Args:
        cfg (Config): Any config of the model, float or PTQ; changed in place.
        checkpoint (str): The weights.
    """
    prepare_config(cfg)
    cfg.load_from = checkpoint
    with _without_dump_over_ptq_config(cfg):
        runner = build_runner(cfg)
    if not any(isinstance(hook, QuantizationHook) for hook in runner.hooks):
        runner.register_hook(QuantizationHook())
    return runner


@contextmanager
def _without_dump_over_ptq_config(cfg: Config) -> Iterator[None]:
    """Keep the config of a PTQ run, over which a runner in its work directory writes its own."""
    name = Path(cfg.filename or '').name
    path = Path(cfg.get('work_dir') or '.') / name
    text = path.read_text() if parallel.is_main() and name and path.is_file() else ''
    try:
        yield
    finally:
        if QuantizationHook.__name__ in text:
            with complete_file(path) as temporary:
                temporary.write_text(text)


def add_tta(cfg: Config) -> None:
    """Put test-time augmentation around the model, in place, as mmdet's own test tool does.

    Args:
        cfg (Config): With ``tta_model`` and ``tta_pipeline``; without them images are flipped.
    """
    if not cfg.get('test_dataloader'):
        raise QuantizationError("--tta: the config has no 'test_dataloader'")
    model = cfg.get('tta_model') or dict(
        type='DetTTAModel',
        tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
    )
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    dataset['pipeline'] = cfg.get('tta_pipeline') or _flipped(dataset['pipeline'])
    cfg.model = ConfigDict(**model, module=cfg.model)


def _flipped(pipeline: list[dict]) -> list[dict]:
    """A test pipeline of images that ends in the image and its mirror image."""
    keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
    flips = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
    pack = dict(type='PackDetInputs', meta_keys=(*keys, 'flip', 'flip_direction'))
    last = dict(type='TestTimeAug', transforms=[flips, [pack]])
    return [*copy.deepcopy(pipeline[:-1]), last]

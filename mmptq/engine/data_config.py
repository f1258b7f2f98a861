"""The data of a PTQ config: what is missing, and what a run can do without."""

import argparse
import inspect
import os
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS

from mmptq.ptq.inputs.calibration_settings import CalibrationSettings
from mmptq.ptq.inputs.pipelines import chosen_pipeline, evaluation_leaves
from mmptq.ptq.inputs.train_dataset import train_leaves
from mmptq.quantization import QuantizationError

EVALUATION = dict(
    val=('val_dataloader', 'val_cfg', 'val_evaluator'),
    test=('test_dataloader', 'test_cfg', 'test_evaluator'),
)


def add_calibration_argument(parser: argparse.ArgumentParser) -> None:
    """Adds ``--calibration-data``."""
    parser.add_argument(
        '--calibration-data',
        metavar='FOLDER',
        help='calibrate on the images or scans (.bin) of a folder; needs no labels and no train '
        'data',
    )


def set_calibration_data(cfg: Config, folder: str | None) -> None:
    """Write ``--calibration-data`` into a config, where it is given."""
    if folder is not None:
        cfg.calibration = dict(cfg.get('calibration') or {}, data=folder)


def prepare_data(cfg: Config) -> None:
    """Leave out data that a run can do without, and refuse a config that lacks what it needs.

    Args:
        cfg (Config): A PTQ config; changed in place.

    Raises:
        QuantizationError: If there are no calibration data, or a file of the data is missing.
    """
    settings = CalibrationSettings.from_config(cfg.get('calibration'))
    pipelines = _pipelines(cfg)
    if settings.data is None:
        _require_train_data(cfg)
    elif not cfg.get('train_dataloader'):
        cfg.train_dataloader = dict()  # mmengine builds no train loop without one
    _prepare_evaluation(cfg, settings)
    if not _complete(cfg, 'test'):
        _drop(cfg, 'test')
    if pipelines and _pipelines(cfg) != pipelines:
        # The data are gone, and calibration samples still go through their pipeline.
        if len(pipelines) > 1 and settings.pipeline is None:
            raise QuantizationError(
                f'the evaluation data, which is left out, has {len(pipelines)} different test '
                'pipelines: name that of the calibration data with --cfg-options '
                'calibration.pipeline=0'
            )
        pipeline = chosen_pipeline(settings.pipeline or 0, pipelines)
        cfg.calibration = dict(cfg.get('calibration') or {}, pipeline=pipeline)


def _pipelines(cfg: Config) -> list[Any]:
    """The different test pipelines of a config, in order."""
    found: list[Any] = []
    for leaf in evaluation_leaves(cfg):
        if leaf['pipeline'] not in found:
            found.append(leaf['pipeline'])
    return found


def _require_train_data(cfg: Config) -> None:
    if not cfg.get('train_dataloader'):
        raise QuantizationError(
            "the config has no 'train_dataloader' to calibrate on: name a folder of images or "
            'scans with --calibration-data FOLDER'
        )
    missing = next(missing_files(cfg, 'train'), None)
    if missing is not None:
        raise QuantizationError(
            f'the train data cannot be read, {missing}: check its data_root and ann_file, or '
            'calibrate on a folder of images or scans with --calibration-data FOLDER'
        )


def _prepare_evaluation(cfg: Config, settings: CalibrationSettings) -> None:
    reason = None
    if not _complete(cfg, 'val'):
        lacking = [key for key in EVALUATION['val'][::2] if not cfg.get(key)]
        reason = f'the config has no {" and no ".join(lacking)}'
    else:
        missing = next(missing_files(cfg, 'val'), None)
        if missing is not None and settings.data is None:
            raise QuantizationError(
                f'the validation data cannot be read, {missing}: check its data_root and '
                'ann_file, or leave out the evaluation with --cfg-options val_evaluator=None'
            )
        reason = missing
    if reason is not None:
        MMLogger.get_current_instance().warning(
            f'accuracy is not measured, neither before nor after quantization: {reason}'
        )
        _drop(cfg, 'val')


def _complete(cfg: Config, name: str) -> bool:
    """Whether there is all that mmengine builds a loop from; adds a loop that is not named."""
    loader, loop, evaluator = EVALUATION[name]
    if not cfg.get(loader) or not cfg.get(evaluator):
        return False
    if cfg.get(loop) is None:
        cfg[loop] = dict(type=f'{name.capitalize()}Loop')
    return True


def _drop(cfg: Config, name: str) -> None:
    for key in EVALUATION[name]:
        cfg[key] = None


def missing_files(cfg: Config, name: str) -> Iterator[str]:
    """What the data of a config name and the disk has not, as parts of a sentence.

    Args:
        cfg (Config): The whole config.
        name (str): 'train' or 'val'.
    """
    loader = cfg.get(f'{name}_dataloader')
    for leaf in train_leaves(loader.get('dataset')) if isinstance(loader, dict) else []:
        if not isinstance(leaf, dict) or not _is_base_dataset(leaf.get('type'), cfg):
            continue
        root, file = leaf.get('data_root') or '', leaf.get('ann_file') or ''
        if _absent(root):
            yield f"folder '{root}' does not exist"
        elif file and _absent(os.path.join(root, file)):
            yield f"annotation file '{os.path.join(root, file)}' does not exist"
    evaluators = cfg.get(f'{name}_evaluator') or []
    for metric in evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]:
        file = metric.get('ann_file') if isinstance(metric, dict) else None
        if isinstance(file, str) and file and _absent(file):
            yield f"annotation file '{file}' of the metric does not exist"


def _absent(path: Any) -> bool:
    """Whether a path is on this machine's disk, and not there."""
    return isinstance(path, str) and bool(path) and '://' not in path and not os.path.exists(path)


def _is_base_dataset(kind: Any, cfg: Config) -> bool:
    if isinstance(kind, str):
        with DATASETS.switch_scope_and_registry(cfg.get('default_scope')) as registry:
            kind = registry.get(kind)
    return inspect.isclass(kind) and issubclass(kind, BaseDataset)

"""The test pipeline of a config, and what it reads."""

import copy
import re
from collections.abc import Iterator
from typing import Any

from mmengine.registry import TRANSFORMS

from mmptq.quantization import QuantizationError

from .calibration_settings import CalibrationSettings

ANNOTATIONS = re.compile(r'Load\w*Annotations\w*')
# These need camera matrices beside the image.
WITH_CAMERA = re.compile(r'\w*Load\w*(Mono3D|MultiView)\w*')


def pipeline_leaves(dataset: Any) -> Iterator[dict[str, Any]]:
    """Configs with a pipeline in a dataset config, in order; not those inside of one that has."""
    if not isinstance(dataset, dict):
        return
    if dataset.get('pipeline') is not None:
        yield dataset
        return
    for inner in [dataset.get('dataset'), *(dataset.get('datasets') or [])]:
        yield from pipeline_leaves(inner)


def evaluation_leaves(cfg: Any) -> list[dict[str, Any]]:
    """Dataset configs with a pipeline of the val data, or where it has none, the test data."""
    for key in ('val_dataloader', 'test_dataloader'):
        loaders = cfg.get(key) or []
        leaves = []
        for loader in loaders if isinstance(loaders, (list, tuple)) else [loaders]:
            leaves += pipeline_leaves(loader.get('dataset') if isinstance(loader, dict) else None)
        if leaves:
            return leaves
    pipeline = cfg.get('test_pipeline')  # the name that stock configs give it
    return [dict(pipeline=pipeline)] if pipeline else []


def pipelines_for(
    cfg: Any, settings: CalibrationSettings, train: list[dict[str, Any]]
) -> list[list[dict]] | None:
    """The test pipeline of each train dataset.

    Args:
        cfg (Config): The whole config.
        settings (CalibrationSettings): May choose one.
        train (list[dict]): Configs of train datasets.

    Returns:
        list[list[dict]] | None: One per train dataset; None where the config has none at all.

    Raises:
        QuantizationError: If there are several, and nothing says which one fits.
    """
    leaves = evaluation_leaves(cfg)
    different = []
    for leaf in leaves:
        if leaf['pipeline'] not in different:
            different.append(leaf['pipeline'])
    if settings.pipeline is not None:
        return [chosen_pipeline(settings.pipeline, different)] * len(train)
    if len(different) <= 1:
        return [different[0]] * len(train) if different else None
    if [_source(leaf) for leaf in leaves] == [_source(leaf) for leaf in train]:
        return [leaf['pipeline'] for leaf in leaves]
    raise QuantizationError(
        f'the evaluation data has {len(different)} different test pipelines, and the config does '
        'not say which fits the calibration data: name one with --cfg-options '
        f'calibration.pipeline=0 (up to {len(different) - 1}, in their order)'
    )


def chosen_pipeline(choice: Any, different: list[list[dict]]) -> list[dict]:
    """The pipeline of ``calibration.pipeline``.

    Args:
        choice (list[dict] | int): A pipeline, or the number of one.
        different (list[list[dict]]): The different ones of the evaluation data.

    Raises:
        QuantizationError: If it is neither.
    """
    if isinstance(choice, (list, tuple)) and all(isinstance(step, dict) for step in choice):
        return list(choice)
    if isinstance(choice, int) and 0 <= choice < len(different):
        return different[choice]
    raise QuantizationError(
        f'calibration.pipeline={choice!r}: use a list of transforms, or the number of a test '
        f'pipeline (the evaluation data has {len(different)}, the first one is 0)'
    )


def _source(leaf: Any) -> tuple:
    return (leaf.get('type'), leaf.get('data_root')) if isinstance(leaf, dict) else (leaf,)


def type_names(kind: Any) -> list[str]:
    """Names of a transform's class and its base classes, as far as they are known."""
    if isinstance(kind, str):
        name = kind.rpartition('.')[2]
        with TRANSFORMS.switch_scope_and_registry(None) as registry:
            kind = registry.get(kind)
        if kind is None:
            return [name]
    return [base.__name__ for base in getattr(kind, '__mro__', [kind])]


def transforms_in(pipeline: Any) -> Iterator[list[str]]:
    """Class names of every transform of a pipeline config, nested ones as well."""
    if isinstance(pipeline, dict):
        if 'type' in pipeline:
            yield type_names(pipeline['type'])
        yield from transforms_in(pipeline.get('transforms'))
    elif isinstance(pipeline, (list, tuple)):
        for step in pipeline:
            yield from transforms_in(step)


def without_annotations(pipeline: Any) -> Any:
    """A copy of a pipeline config without the transforms that load labels."""
    if isinstance(pipeline, (list, tuple)):
        return [without_annotations(step) for step in pipeline if not _loads_labels(step)]
    if isinstance(pipeline, dict):
        step = copy.deepcopy(dict(pipeline))
        if 'transforms' in step:
            step['transforms'] = without_annotations(step['transforms'])
        return step
    return pipeline


def _loads_labels(step: Any) -> bool:
    return isinstance(step, dict) and any(
        ANNOTATIONS.fullmatch(name) for name in type_names(step.get('type'))
    )


def sample_kind(pipeline: list[dict]) -> str | None:
    """What a test pipeline reads: 'images', 'scans', or None where that is not known.

    Raises:
        QuantizationError: If it needs more than one file per sample.
    """
    steps = list(transforms_in(pipeline))
    names = {name for step in steps for name in step}
    camera = next((step[0] for step in steps if any(map(WITH_CAMERA.fullmatch, step))), None)
    if camera is not None:
        raise QuantizationError(
            f'the test pipeline reads images with their camera matrices ({camera}), which a folder '
            'does not hold: calibrate on the train data of the config, without --calibration-data'
        )
    scans, images = 'LoadPointsFromFile' in names, 'LoadImageFromFile' in names
    if scans and images:
        raise QuantizationError(
            'the test pipeline reads scans together with images (LoadPointsFromFile and '
            'LoadImageFromFile), which a folder does not match: calibrate on the train data of the '
            'config, without --calibration-data'
        )
    return 'scans' if scans else 'images' if images else None

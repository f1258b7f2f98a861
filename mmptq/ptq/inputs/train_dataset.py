"""The train data, turned so that it loads like test data."""

import copy
import inspect
from collections.abc import Callable
from typing import Any

from mmengine.dataset import BaseDataset, Compose
from mmengine.registry import DATASETS
from torch.utils.data import Dataset

from .finite_points import with_finite_points

NextPipeline = Callable[[], list[dict] | None]


def train_leaves(dataset: Any) -> list[Any]:
    """What is inside of all wrappers of a train dataset, configs or objects, in order."""
    if isinstance(dataset, dict):
        if _is_config(dataset.get('dataset')):
            return train_leaves(dataset['dataset'])
        if isinstance(dataset.get('datasets'), (list, tuple)):
            return [leaf for inner in dataset['datasets'] for leaf in train_leaves(inner)]
    return [dataset]


def takes_pipeline(dataset: Any) -> bool:
    """Whether a dataset reads its samples through a pipeline of transforms."""
    if isinstance(dataset, dict):
        return 'pipeline' in dataset or _accepts(dataset.get('type'), 'pipeline')
    return hasattr(dataset, 'pipeline')


def with_pipelines(dataset: Any, next_pipeline: NextPipeline, nan_points: str | None) -> Any:
    """A train dataset without its wrappers, with a pipeline for each dataset inside.

    Args:
        dataset (dict | Dataset): A config, or an object.
        next_pipeline (Callable): Gives the pipeline of the next dataset inside, see
            ``train_leaves``.
        nan_points (str, optional): See ``CalibrationSettings``.
    """
    if not isinstance(dataset, dict):
        return _object(dataset, next_pipeline(), nan_points)
    if _is_config(dataset.get('dataset')):
        return with_pipelines(dataset['dataset'], next_pipeline, nan_points)
    if isinstance(dataset.get('datasets'), (list, tuple)):
        parts = [with_pipelines(d, next_pipeline, nan_points) for d in dataset['datasets']]
        outside = {key: value for key, value in dataset.items() if key != 'datasets'}
        return dict(copy.deepcopy(outside), datasets=parts)
    pipeline = next_pipeline()
    dataset = copy.deepcopy(dict(dataset))
    if pipeline is not None and takes_pipeline(dataset):
        dataset['pipeline'] = with_finite_points(copy.deepcopy(pipeline), nan_points)
    if _accepts(dataset.get('type'), 'test_mode'):
        dataset['test_mode'] = True
    # Data sets do not filter in test mode, and mmdet's XMLDataset refuses to be told to.
    dataset.pop('filter_cfg', None)
    return dataset


def skip_labels(dataset: Dataset) -> None:
    """Tell every dataset inside of wrappers that can do without labels not to read them."""
    if hasattr(dataset, 'skip_labels'):
        dataset.skip_labels()
    inner = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    for part in inner if isinstance(inner, (list, tuple)) else []:
        if _is_dataset(part):
            skip_labels(part)


def _is_dataset(value: Any) -> bool:
    """Whether this is a dataset; wrappers of mmengine are no subclasses of torch's."""
    return hasattr(type(value), '__getitem__') and not isinstance(value, (str, dict, list, tuple))


def _is_config(value: Any) -> bool:
    return _is_dataset(value) or (isinstance(value, dict) and 'type' in value)


def _object(dataset: Any, pipeline: list[dict] | None, nan_points: str | None) -> Any:
    if pipeline is None or not isinstance(dataset, BaseDataset):
        return dataset
    dataset = copy.copy(dataset)
    dataset.pipeline = Compose(with_finite_points(pipeline, nan_points))
    dataset.test_mode = True
    return dataset


def _accepts(kind: Any, argument: str) -> bool:
    """Whether a dataset class takes an argument; True where the class is not known."""
    if isinstance(kind, str):
        with DATASETS.switch_scope_and_registry(None) as registry:
            kind = registry.get(kind)
    if kind is None:
        return True  # building it will say so
    try:
        parameters = inspect.signature(kind).parameters
    except (TypeError, ValueError):
        return True
    variable = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return variable or argument in parameters

"""The files of a sample, found without its labels being read, in data sets of any kind."""

import bisect
import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from mmengine.dataset import BaseDataset
from torch.utils.data import ConcatDataset, Dataset, Subset


def sample_files(dataset: Dataset, index: int) -> set[str]:
    """Files of a sample, as absolute paths without links; empty where nothing names them.

    Args:
        dataset (Dataset): An OpenMMLab dataset, a wrapper of some, or any other.
        index (int): The sample.
    """
    files = info_files(_used_info(dataset, index))
    if files or not hasattr(dataset, 'get_data_info'):
        return files
    try:
        # May read labels, so it is only asked where the list of samples names no file.
        return info_files(dataset.get_data_info(index))
    except Exception:
        return set()  # labels may be missing


def sample_title(dataset: Dataset, index: int) -> str:
    """A sample as the subject of a sentence: its first file, or its number."""
    files = sorted(sample_files(dataset, index))
    return f"calibration sample '{files[0]}'" if files else f'calibration sample no. {index}'


def scan_path(dataset: Dataset, index: int) -> str | None:
    """The LiDAR scan of a sample; None where there is none."""
    return _lidar_path(_raw_info(dataset, index))


def sweep_paths(dataset: Dataset, index: int, count: int) -> list[str]:
    """The earlier LiDAR scans that are added to that of a sample, ``count`` at most."""
    sweeps = _raw_info(dataset, index).get('lidar_sweeps')
    found = [_lidar_path(sweep) for sweep in sweeps[:count]] if isinstance(sweeps, list) else []
    return [path for path in found if path is not None]


def missing_image(dataset: Dataset, index: int) -> tuple[str, str] | None:
    """The first camera of a sample whose image is not there, and its path; None if all are.

    Looks only at samples of several images; a single one that is missing is named when it is read.
    """
    paths = camera_paths(dataset, index)
    if len(paths) > 1:
        for name, path in paths.items():
            if '://' not in path and not os.path.exists(path):
                return name, path
    return None


def lacking_cameras(dataset: Dataset, indices: Iterable[int]) -> dict[int, str]:
    """Samples of several cameras without one that others of the same data set have, and its name.

    Samples of one image each, as a monocular detector takes them, lack nothing.
    """
    by_set: dict[int, dict[int, set[str]]] = {}
    for index in indices:
        inner, number = innermost(dataset, index)
        by_set.setdefault(id(inner), {})[index] = set(camera_paths(inner, number))
    lacking = {}
    for samples in by_set.values():
        known = set().union(*samples.values())
        if max(map(len, samples.values())) > 1:
            lacking |= {i: min(known - own) for i, own in samples.items() if known - own}
    return lacking


def camera_paths(dataset: Dataset, index: int) -> dict[str, str]:
    """Paths of the images of a sample by camera; empty where it names no cameras."""
    images = _used_info(dataset, index).get('images')
    images = images if isinstance(images, dict) else {}
    paths = {name: part.get('img_path') for name, part in images.items() if isinstance(part, dict)}
    return {name: path for name, path in paths.items() if isinstance(path, str) and path}


def _lidar_path(info: Any) -> str | None:
    points = info.get('lidar_points') if isinstance(info, dict) else None
    path = points.get('lidar_path') if isinstance(points, dict) else None
    return os.fspath(path) if isinstance(path, (str, os.PathLike)) else None


def info_files(info: Any) -> set[str]:
    """Files that a data info names, as absolute paths without links."""
    if not isinstance(info, dict):
        return set()
    parts = [info.get('lidar_points')]
    images = info.get('images')  # cameras, and for KITTI matrices among them
    parts += list(images.values()) if isinstance(images, dict) else images or []
    parts = [part for part in parts if isinstance(part, dict)]
    named = [info.get('img_path')]
    named += [part.get(key) for part in parts for key in ('img_path', 'lidar_path')]
    return {_resolved(path) for path in _paths(named)}


def _paths(named: Any) -> Iterator[str]:
    if isinstance(named, (str, os.PathLike)):
        if os.fspath(named):
            yield os.fspath(named)
    elif isinstance(named, (list, tuple)):
        for part in named:
            yield from _paths(part)


def _resolved(path: str) -> str:
    """``os.path.realpath`` with one look at the disk per file: data sets have few folders."""
    path = os.path.join(_resolved_folder(os.path.dirname(path)), os.path.basename(path))
    return os.path.realpath(path) if os.path.islink(path) else path


@lru_cache(maxsize=65536)
def _resolved_folder(folder: str) -> str:
    return os.path.realpath(folder)


def _raw_info(dataset: Any, index: int) -> dict[str, Any]:
    """What the list of samples holds about one; empty where it is not known."""
    dataset, index = innermost(dataset, index)
    if isinstance(dataset, BaseDataset):
        # Subclasses may read a label file in their own ``get_data_info``.
        info = BaseDataset.get_data_info(dataset, index)
    elif isinstance(getattr(dataset, 'data_list', None), (list, tuple)):
        info = dataset.data_list[index]
    else:
        return {}
    return info if isinstance(info, dict) else {}


def _used_info(dataset: Any, index: int) -> dict[str, Any]:
    """What the list of samples holds about one, without the sensors that its data set leaves out.

    mmdet3d's data sets complete the paths of the sensors that they use; the others mean nothing.
    """
    info = _raw_info(dataset, index)
    modality = getattr(innermost(dataset, index)[0], 'modality', None)
    if not isinstance(modality, dict):
        return info
    unused = {'images': 'use_camera', 'lidar_points': 'use_lidar'}
    unused = {key for key, used in unused.items() if not modality.get(used, True)}
    return {key: value for key, value in info.items() if key not in unused}


def innermost(dataset: Any, index: int) -> tuple[Any, int]:
    """The dataset inside of wrappers that holds a sample, and its index there."""
    while not isinstance(dataset, BaseDataset):
        if isinstance(dataset, Subset):
            dataset, index = dataset.dataset, int(dataset.indices[index])
        elif isinstance(dataset, ConcatDataset):
            part = bisect.bisect_right(dataset.cumulative_sizes, index)
            index -= dataset.cumulative_sizes[part - 1] if part else 0
            dataset = dataset.datasets[part]
        elif hasattr(dataset, '_get_ori_dataset_idx') and hasattr(dataset, 'dataset'):
            # mmengine's RepeatDataset and ClassBalancedDataset, mmdet3d's CBGSDataset.
            if hasattr(dataset, 'full_init'):
                dataset.full_init()
            dataset, index = dataset.dataset, int(dataset._get_ori_dataset_idx(index))
        else:
            break
    return dataset, index

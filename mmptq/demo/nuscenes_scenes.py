"""The demo data set in nuScenes format: LiDAR and camera street scenes, any number and length."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmptq.demo.folder import is_complete, new_folder
from mmptq.demo.lidar_scene import make_scene
from mmptq.demo.nuscenes_cameras import Photographer, camera_folders
from mmptq.demo.nuscenes_infos import NuScenesInfos
from mmptq.demo.nuscenes_recording import (
    FOLDERS,
    SWEEP_PERIOD,
    Frame,
    count_sweeps,
    record_scene,
)
from mmptq.demo.nuscenes_tables import NuScenesTables
from mmptq.demo.scene_processes import in_processes

GENERATOR_VERSION = 2  # increase when the same seed gives other data
SPLITS = ('train', 'val')
_FIRST_TIMESTAMP = 1_532_402_900_000_000  # microseconds
_HOUR = 3_600_000_000  # microseconds
_CAMERA_STREAM = 1  # sets the random stream of the cameras apart from that of the scene


def generate(
    out: str | Path,
    train: int = 90,
    val: int = 20,
    keyframes: int = 3,
    columns: int = 400,
    seed: int = 0,
    image_size: tuple[int, int] | None = (384, 224),
    on_progress: Callable[[int, int], None] | None = None,
) -> bool:
    """Make the data set, or do nothing if it exists with the same parameters.

    Scene ``i`` of a split depends on the seed, the split, ``i``, ``keyframes`` and ``columns``
    only, so a larger data set starts with the scenes of a smaller one; the cameras change nothing
    of the LiDAR. Layout: as nuScenes ``v1.0-trainval`` with LIDAR_TOP and, in keyframes, the six
    cameras, plus ``nuscenes_infos_{train,val}.pkl`` of mmdet3d and ``manifest.json``.

    Args:
        out (str | Path): The output folder.
        train (int): Number of training scenes, at most the 700 of the official split.
        val (int): Number of validation scenes, at most 150.
        keyframes (int): Labelled frames per scene, at least 2 so that velocities are known.
        columns (int): Azimuth steps per turn of the sensor; 1084 on the real one.
        seed (int): Non-negative seed.
        image_size (tuple[int, int] | None): Width and height of the images, pixels, at least 32;
            None leaves the cameras out.
        on_progress (Callable | None): Called with (scenes done, scenes in total).

    Returns:
        bool: True if the data set was made, False if it already existed.

    Raises:
        ValueError: If a parameter is out of range.
        FileExistsError: If ``out`` exists and is not a generated data set.
        OSError: If a file cannot be written.
    """
    counts = {'train': train, 'val': val}
    parameters = dict(
        format='nuscenes',
        version=GENERATOR_VERSION,
        seed=seed,
        keyframes=keyframes,
        columns=columns,
        image_size=list(image_size or ()),
        **counts,
    )
    names = _scene_names(counts)
    _check(parameters)
    if is_complete(out, parameters):
        return False
    with new_folder(out, parameters) as folder:
        _make(folder, names, parameters, on_progress or _ignore)
    return True


def _make(
    folder: Path,
    names: dict[str, list[str]],
    parameters: dict,
    on_progress: Callable[[int, int], None],
) -> None:
    """Fill the folder with the scenes of both splits."""
    size = tuple(parameters['image_size'])
    for name in [*FOLDERS.values(), *(camera_folders() if size else ())]:
        (folder / name).mkdir(parents=True)
    tables = NuScenesTables(parameters['seed'], cameras=bool(size))
    jobs = [
        _Job(folder, parameters, split_index, index, name)
        for split_index, split in enumerate(SPLITS)
        for index, name in enumerate(names[split])
    ]
    recorded = in_processes(_record, jobs)
    done = 0
    for split in SPLITS:
        infos = NuScenesInfos(tables)
        for name in names[split]:
            frames = next(recorded)
            tables.add_scene(name, frames)
            infos.add_scene(name, frames)
            done += 1
            on_progress(done, len(jobs))
        infos.write(folder / f'nuscenes_infos_{split}.pkl')
    tables.write(folder)


@dataclass
class _Job:
    """One scene.

    Attributes:
        folder (Path): Of the data set.
        parameters (dict): Of the data set.
        split, index (int): Place of the scene.
        name (str): Its name.
    """

    folder: Path
    parameters: dict
    split: int
    index: int
    name: str


def _record(job: _Job) -> list[Frame]:
    """Write the files of one scene."""
    keyframes, columns = job.parameters['keyframes'], job.parameters['columns']
    place = [job.parameters['seed'], job.split, job.index]
    rng = np.random.default_rng(place)
    scene = make_scene(rng, count_sweeps(keyframes) * SWEEP_PERIOD / 1e6)
    start = _FIRST_TIMESTAMP + (job.split * 1000 + job.index) * _HOUR
    photographer = None
    if size := tuple(job.parameters['image_size']):
        own = np.random.default_rng([*place, _CAMERA_STREAM])
        photographer = Photographer(own, scene, job.folder, size, job.name)
    return record_scene(rng, scene, job.folder, keyframes, columns, start, job.name, photographer)


def _ignore(done: int, total: int) -> None:
    """Show no progress."""


def _scene_names(counts: dict[str, int]) -> dict[str, list[str]]:
    """Scene names from the official splits, because the devkit rejects unknown names."""
    try:
        from nuscenes.utils.splits import create_splits_scenes
    except ImportError as error:
        raise ValueError(
            'the nuScenes demo set needs the official split names: pip install nuscenes-devkit'
        ) from error
    official = create_splits_scenes()
    for split, count in counts.items():
        if not 1 <= count <= len(official[split]):
            raise ValueError(
                f'{split}={count} is out of range: use 1 to {len(official[split])}, the number of '
                'scenes in the official split'
            )
    return {split: official[split][:count] for split, count in counts.items()}


def _check(parameters: dict) -> None:
    least = dict(keyframes=2, columns=60, seed=0)
    for name, smallest in least.items():
        if parameters[name] < smallest:
            raise ValueError(f'{name}={parameters[name]} is too small: use at least {smallest}.')
    for pixels in parameters['image_size']:
        if pixels < 32:
            raise ValueError(f'image_size={pixels} is too small: use at least 32 pixels.')

"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest
from mmengine.registry import DefaultScope


@pytest.fixture(autouse=True)
def no_scope_left_behind():
    """The scope that a runner sets for its process must not decide about the next test."""
    yield
    DefaultScope._instance_dict.clear()


@pytest.fixture(scope='session')
def real_data() -> Path:
    """Folder with the real samples and networks, or a skip where it is absent."""
    default = Path(__file__).resolve().parents[2] / 'shared' / 'real'
    folder = Path(os.environ.get('MMPTQ_REAL', default))
    if not folder.is_dir():
        pytest.skip(f'real data not found at {folder}; set MMPTQ_REAL to its folder')
    return folder


@pytest.fixture(scope='session')
def tiny_data(tmp_path_factory) -> Path:
    """A generated COCO-format data set of six training and three validation images."""
    from mmptq.demo.coco_scenes import generate

    folder = tmp_path_factory.mktemp('data') / 'coco'
    generate(folder, train=6, val=3, seed=0, width=96, height=64)
    return folder


@pytest.fixture
def tiny(tiny_data, tmp_path) -> tuple[Path, Path]:
    """Config file and float checkpoint of a tiny RetinaNet."""
    from helpers import save_float_checkpoint, tiny_config

    cfg = tiny_config(tiny_data, tmp_path / 'work')
    checkpoint = tmp_path / 'float.pth'
    save_float_checkpoint(cfg, checkpoint)
    cfg.load_from = str(checkpoint)
    path = tmp_path / 'tiny.py'
    cfg.dump(path)
    return path, checkpoint


@pytest.fixture(scope='session')
def tiny_nuscenes(tmp_path_factory) -> Path:
    """A generated nuScenes-format set: two scenes of two keyframes each for train and val."""
    from mmptq.demo.nuscenes_scenes import generate

    folder = tmp_path_factory.mktemp('data') / 'nuscenes'
    generate(folder, train=2, val=2, keyframes=2, columns=180, seed=3)
    return folder


@pytest.fixture(scope='session')
def tiny_lanes(tmp_path_factory) -> Path:
    """A generated CULane-format set of 820x295 pixels, two training and nine validation images."""
    from mmptq.demo.lane_scenes import generate

    folder = tmp_path_factory.mktemp('data') / 'lane'
    generate(folder, train=2, val=9, seed=0)
    return folder

"""A small generated data set in nuScenes format, shared by the tests of this folder."""

from pathlib import Path

import pytest


@pytest.fixture(scope='session')
def tiny_nuscenes(tmp_path_factory) -> Path:
    """Two training and two validation scenes of two keyframes each."""
    from mmptq.demo.nuscenes_scenes import generate

    folder = tmp_path_factory.mktemp('data') / 'nuscenes'
    assert generate(folder, train=2, val=2, keyframes=2, columns=180, seed=3)
    return folder

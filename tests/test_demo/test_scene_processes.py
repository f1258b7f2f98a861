"""Scenes that are made in several processes."""

import os
import pickle

import cv2
import numpy as np
import pytest

from mmptq.demo import nuscenes_scenes, scene_processes
from mmptq.demo.camera_rig import CAMERAS
from mmptq.demo.scene_processes import in_processes


def square(number: int) -> tuple[int, int]:
    if number < 0:
        raise OSError(f'cannot write {number}')
    return number * number, os.getpid()


def leave(number: int) -> None:
    os._exit(1)


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(scene_processes, 'FEWEST', 1)
    monkeypatch.setattr(scene_processes, 'cores', lambda: 2)


def test_results_in_order(two_cores):
    found = list(in_processes(square, list(range(6))))
    assert [number for number, _ in found] == [0, 1, 4, 9, 16, 25]
    assert os.getpid() not in {process for _, process in found}


def test_threads_of_opencv_do_not_hang_them(two_cores):
    threads = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        cv2.GaussianBlur(np.zeros((2000, 2000), np.uint8), (9, 9), 2)  # starts the threads
        assert [number for number, _ in in_processes(square, [1, 2, 3])] == [1, 4, 9]
    finally:
        cv2.setNumThreads(threads)


def test_few_jobs_need_no_processes(monkeypatch):
    monkeypatch.setattr(scene_processes, 'cores', lambda: 2)
    assert {process for _, process in in_processes(square, list(range(6)))} == {os.getpid()}


def test_errors_arrive(two_cores):
    with pytest.raises(OSError, match='cannot write -1'):
        list(in_processes(square, [1, -1, 2]))
    with pytest.raises(OSError, match='a process was killed'):
        list(in_processes(leave, [1, 2]))


def test_cameras_stay_the_same_objects():
    assert all(pickle.loads(pickle.dumps(camera)) is camera for camera in CAMERAS)


def test_files_do_not_depend_on_the_processes(tmp_path, monkeypatch):
    options = dict(train=1, val=1, keyframes=2, columns=60, image_size=(64, 32))
    nuscenes_scenes.generate(tmp_path / 'one', **options)
    monkeypatch.setattr(scene_processes, 'FEWEST', 1)
    monkeypatch.setattr(scene_processes, 'cores', lambda: 2)
    nuscenes_scenes.generate(tmp_path / 'two', **options)
    files = [path.relative_to(tmp_path / 'one') for path in (tmp_path / 'one').rglob('*')]
    assert len(files) > 20
    for file in files:
        one, two = (tmp_path / name / file for name in ('one', 'two'))
        assert one.is_dir() or one.read_bytes() == two.read_bytes(), file

import numpy as np
import pytest

from mmptq.demo.lidar_scene import make_scene
from mmptq.demo.nuscenes_recording import FOLDERS, count_inside, count_sweeps, record_scene


def record(folder, keyframes=2, seed=0):
    for name in FOLDERS.values():
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(seed)
    scene = make_scene(rng, 5.0)
    return record_scene(rng, scene, folder, keyframes, columns=60, start=10**9, prefix='x')


def test_points_in_a_turned_box_are_counted():
    points = np.array([[1.0, 1.0, 0.0], [1.9, 1.9, 0.0], [1.0, -1.0, 0.0], [0.0, 0.0, 2.0]])
    assert count_inside(points, np.zeros(3), (6.0, 0.4, 1.0), np.pi / 4) == 2
    assert count_inside(points, np.zeros(3), (2.0, 2.0, 4.0), 0.0) == 3


def test_every_keyframe_has_ten_sweeps_before_it(tmp_path):
    frames = record(tmp_path, keyframes=3)
    assert len(frames) == count_sweeps(3) == 31
    assert [index for index, frame in enumerate(frames) if frame.is_key_frame] == [10, 20, 30]
    assert set(np.diff([frame.timestamp for frame in frames])) == {50_000}
    for frame in frames:
        assert frame.filename.startswith(FOLDERS[frame.is_key_frame])
        assert (tmp_path / frame.filename).stat().st_size % 20 == 0


def test_velocity_is_the_speed_of_the_object(tmp_path):
    frames = record(tmp_path)
    rng = np.random.default_rng(0)
    actors = make_scene(rng, 5.0).actors
    checked = 0
    for frame in frames:
        for label in frame.labels:
            actor = actors[label.actor]
            if np.isfinite(label.velocity).all():
                expected = actor.speed * np.array([np.cos(label.yaw), np.sin(label.yaw)])
                assert label.velocity == pytest.approx(expected, abs=1e-6)
                checked += 1
    assert checked > 20

import pickle

import numpy as np
import pytest
import torch

from mmptq.demo.nuscenes_infos import CLASSES
from mmptq.demo.nuscenes_scenes import generate

SMALL = dict(train=1, val=1, keyframes=2, columns=60, image_size=None)


def contents(folder):
    files = (path for path in folder.rglob('*') if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def load_points(folder, info):
    name = info['lidar_points']['lidar_path']
    return np.fromfile(folder / 'samples/LIDAR_TOP' / name, np.float32).reshape(-1, 5)


def test_same_seed_same_bytes_and_other_seed_other_points(tmp_path):
    for name, seed in (('one', 1), ('two', 1), ('three', 2)):
        assert generate(tmp_path / name, **SMALL, seed=seed)
    one = contents(tmp_path / 'one')
    assert one == contents(tmp_path / 'two')
    other = contents(tmp_path / 'three')
    points = [name for name in one if name.endswith('.bin')]
    assert len(points) == 2 * 21
    assert all(one[name] != other[name] for name in points)


def test_larger_set_starts_with_the_smaller_one(tmp_path):
    generate(tmp_path / 'small', **SMALL)
    generate(tmp_path / 'large', **SMALL | dict(train=2, val=2))
    small, large = contents(tmp_path / 'small'), contents(tmp_path / 'large')
    points = [name for name in small if name.endswith('.bin')]
    assert all(small[name] == large[name] for name in points)
    assert len([name for name in large if name.endswith('.bin')]) == 2 * len(points)


def test_second_run_does_nothing_and_other_parameters_replace(tmp_path):
    seen = []
    folder = tmp_path / 'set'
    assert generate(folder, **SMALL, on_progress=lambda *step: seen.append(step))
    assert seen == [(1, 2), (2, 2)]
    before = (folder / 'nuscenes_infos_val.pkl').stat().st_mtime_ns
    assert not generate(folder, **SMALL)
    assert (folder / 'nuscenes_infos_val.pkl').stat().st_mtime_ns == before
    assert generate(folder, **SMALL, seed=4)
    assert [path.name for path in tmp_path.iterdir()] == ['set']


def test_interruption_leaves_nothing(tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / 'set', **SMALL, on_progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (dict(val=151), 'val=151 is out of range: use 1 to 150'),
        (dict(train=0), 'train=0 is out of range: use 1 to 700'),
        (dict(keyframes=1), 'keyframes=1 is too small: use at least 2'),
        (dict(columns=8), 'columns=8 is too small: use at least 60'),
        (dict(seed=-1), 'seed=-1 is too small: use at least 0'),
        (dict(image_size=(384, 8)), 'image_size=8 is too small: use at least 32 pixels'),
    ],
)
def test_bad_parameters_are_refused_before_anything_is_written(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        generate(tmp_path / 'set', **SMALL | wrong)
    assert list(tmp_path.iterdir()) == []


def test_scenes_look_like_those_of_a_sensor(tiny_nuscenes):
    """Most of the bird's eye view is empty, and values have heavy tails."""
    data = pickle.loads((tiny_nuscenes / 'nuscenes_infos_train.pkl').read_bytes())['data_list']
    for info in data:
        points = load_points(tiny_nuscenes, info)
        near = points[(np.abs(points[:, :2]) < 51.2).all(axis=1)]
        cells = np.unique(((near[:, :2] + 51.2) / 0.4).astype(int), axis=0)
        assert 0.9 < 1 - len(cells) / 256**2 < 0.995
        intensity = points[:, 3]
        assert intensity.max() > 10 * np.median(intensity) > 0
        distance = np.linalg.norm(points[:, :3], axis=1)
        assert distance.max() > 40 and np.median(distance) < 20
        assert 0.3 < len(points) / (32 * 180) < 0.95


def test_labels_as_predictions_score_one(tiny_nuscenes):
    """Stock metric and devkit agree with the labels, whatever classes happen to be there."""
    from mmdet3d.registry import METRICS
    from mmdet3d.structures import LiDARInstance3DBoxes

    infos = tiny_nuscenes / 'nuscenes_infos_val.pkl'
    metric = METRICS.build(
        dict(type='NuScenesMetric', data_root=str(tiny_nuscenes), ann_file=str(infos))
    )
    metric.dataset_meta = dict(classes=list(CLASSES), version='v1.0-trainval')
    present = set()
    data_list = pickle.loads(infos.read_bytes())['data_list']
    reach = dict(zip(CLASSES, [50] * 5 + [40] * 3 + [30] * 2, strict=True))
    for info in data_list:
        shown = [i for i in info['instances'] if i['bbox_label'] >= 0 and i['num_lidar_pts'] > 0]
        for instance in shown:
            name = CLASSES[instance['bbox_label']]
            if np.hypot(*instance['bbox_3d'][:2]) < reach[name] - 2:
                present.add(name)
        boxes = torch.tensor([[*i['bbox_3d'], *i['velocity']] for i in shown])
        prediction = dict(
            bboxes_3d=LiDARInstance3DBoxes(boxes, box_dim=9, origin=(0.5, 0.5, 0.5)),
            scores_3d=torch.linspace(0.9, 0.1, len(shown)),
            labels_3d=torch.tensor([i['bbox_label'] for i in shown]),
        )
        sample = dict(
            pred_instances_3d=prediction, pred_instances={}, sample_idx=info['sample_idx']
        )
        metric.process({}, [sample])
    scores = metric.evaluate(len(data_list))
    prefix = 'NuScenes metric/pred_instances_3d_NuScenes/'
    assert len(present) >= 5
    for name in present:
        for threshold in ('0.5', '1.0', '2.0', '4.0'):
            assert scores[f'{prefix}{name}_AP_dist_{threshold}'] == pytest.approx(1.0, abs=1e-3)
    for name in present - {'barrier', 'traffic_cone'}:
        assert scores[f'{prefix}{name}_vel_err'] == pytest.approx(0.0, abs=1e-3)

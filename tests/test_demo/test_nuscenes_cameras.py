"""Images, calibration and labels of the cameras against the devkit and mmdet3d."""

import pickle

import numpy as np
import pytest
import torch

from mmptq.demo.camera_rig import CAMERAS, intrinsic_matrix
from mmptq.demo.nuscenes_images import outline
from mmptq.demo.nuscenes_infos import CLASSES
from mmptq.demo.nuscenes_scenes import generate
from mmptq.demo.nuscenes_tables import VERSION

SMALL = dict(train=1, val=1, keyframes=2, columns=60)
CHANNELS = [camera.channel for camera in CAMERAS]


def infos(folder, split='train'):
    return pickle.loads((folder / f'nuscenes_infos_{split}.pkl').read_bytes())['data_list']


@pytest.fixture(scope='module')
def devkit(tiny_nuscenes):
    from nuscenes import NuScenes

    return NuScenes(VERSION, str(tiny_nuscenes), verbose=False)


def test_cameras_change_nothing_of_the_lidar(tmp_path):
    generate(tmp_path / 'without', **SMALL, image_size=None)
    generate(tmp_path / 'with', **SMALL, image_size=(32, 32))
    generate(tmp_path / 'again', **SMALL, image_size=(32, 32))
    sets = []
    for name in ('without', 'with', 'again'):
        files = (path for path in (tmp_path / name).rglob('*') if path.is_file())
        sets.append({str(p.relative_to(tmp_path / name)): p.read_bytes() for p in files})
    without, images, again = sets
    assert images == again
    added = set(images) - set(without)
    assert len(added) == 2 * 2 * 6 and all(name.endswith('.jpg') for name in added)
    grown = {f'{VERSION}/{name}.json' for name in ('sensor', 'calibrated_sensor')}
    grown |= {f'{VERSION}/{name}.json' for name in ('sample_data', 'ego_pose')}
    grown |= {f'nuscenes_infos_{split}.pkl' for split in ('train', 'val')} | {'manifest.json'}
    assert {name for name in without if without[name] != images[name]} == grown


def test_labels_are_the_boxes_of_the_devkit(tiny_nuscenes, devkit):
    from nuscenes.utils.geometry_utils import BoxVisibility

    found = 0
    for info in infos(tiny_nuscenes):
        assert list(info['images']) == list(info['cam_instances']) == CHANNELS
        sample = devkit.get('sample', info['token'])
        for channel, image in info['images'].items():
            token = sample['data'][channel]
            assert image['sample_data_token'] == token
            path, boxes, intrinsic = devkit.get_sample_data(token, BoxVisibility.NONE)
            assert path.endswith(f'samples/{channel}/{image["img_path"]}')
            np.testing.assert_allclose(intrinsic, image['cam2img'])
            for instance in info['cam_instances'][channel]:
                centre = np.array(instance['bbox_3d'][:3])
                box = min(boxes, key=lambda box: np.linalg.norm(box.center - centre))
                assert box.center == pytest.approx(centre, abs=1e-6)
                width, length, height = box.wlh
                assert instance['bbox_3d'][3:6] == pytest.approx([length, height, width])
                ahead = box.orientation.rotation_matrix[:, 0]
                yaw = instance['bbox_3d'][6]
                assert ahead[[0, 2]] == pytest.approx([np.cos(yaw), -np.sin(yaw)], abs=1e-6)
                assert instance['depth'] == pytest.approx(centre[2])
                velocity = devkit.box_velocity(box.token)
                speed = np.hypot(*instance['velocity'])
                np.testing.assert_allclose(speed, np.hypot(*velocity[:2]), atol=1e-6)
                found += 1
    assert found > 40


def test_calibration_is_that_of_the_tables(tiny_nuscenes, devkit):
    from nuscenes.utils.geometry_utils import transform_matrix
    from pyquaternion import Quaternion

    info = infos(tiny_nuscenes)[1]
    sample = devkit.get('sample', info['token'])

    def to_ego(channel):
        data = devkit.get('sample_data', sample['data'][channel])
        row = devkit.get('calibrated_sensor', data['calibrated_sensor_token'])
        return transform_matrix(row['translation'], Quaternion(row['rotation']))

    for channel, image in info['images'].items():
        np.testing.assert_allclose(image['cam2ego'], to_ego(channel), atol=1e-9)
        expected = np.linalg.inv(to_ego(channel)) @ to_ego('LIDAR_TOP')
        np.testing.assert_allclose(image['lidar2cam'], expected, atol=1e-9)


def test_outline_by_hand():
    intrinsic = intrinsic_matrix(200, 100)
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (10, 12)], float)
    reach = 151 / 10
    expected = [100 - reach, 50 - reach, 100 + reach, 50 + reach]
    assert outline(corners, intrinsic, 200, 100) == pytest.approx(expected, abs=1e-3)
    left = corners - [7, 0, 0]  # 6 to 8 m to the left of the axis
    # Its right edge is that of the far face, 6 m to the left and 12 m away.
    box = [0, 50 - reach, 100 - 151 * 6 / 12, 50 + reach]
    assert outline(left, intrinsic, 200, 100) == pytest.approx(box, abs=1e-3)
    assert outline(corners + [30, 0, 0], intrinsic, 200, 100) is None
    assert outline(corners - [0, 0, 40], intrinsic, 200, 100) is None


def test_labels_as_detections_match_in_the_stock_metric(tiny_nuscenes):
    """What the cameras see, given as detections, is merged and matched without an error."""
    import mmdet3d.evaluation  # noqa: F401
    from mmdet3d.structures import CameraInstance3DBoxes
    from mmengine.evaluator import Evaluator
    from mmengine.registry import init_default_scope

    init_default_scope('mmdet3d')
    path = tiny_nuscenes / 'nuscenes_infos_val.pkl'
    metric = dict(type='NuScenesMetric', data_root=str(tiny_nuscenes), ann_file=str(path))
    evaluator = Evaluator(metric)
    evaluator.dataset_meta = dict(classes=list(CLASSES), version=VERSION)
    for info in infos(tiny_nuscenes, 'val'):
        for number, channel in enumerate(CHANNELS):
            seen = info['cam_instances'][channel]
            boxes = torch.tensor([[*i['bbox_3d'], *i['velocity']] for i in seen]).reshape(-1, 9)
            prediction = dict(
                bboxes_3d=CameraInstance3DBoxes(boxes, box_dim=9, origin=(0.5, 0.5, 0.5)),
                scores_3d=torch.linspace(0.9, 0.2, len(seen)),
                labels_3d=torch.tensor([i['bbox_label_3d'] for i in seen], dtype=torch.long),
                attr_labels=torch.tensor([i['attr_label'] for i in seen], dtype=torch.long),
            )
            index = 6 * info['sample_idx'] + number
            sample = dict(pred_instances_3d=prediction, pred_instances={}, sample_idx=index)
            evaluator.process([sample])
    scores = evaluator.evaluate(4 * 6)
    prefix = 'NuScenes metric/pred_instances_3d_NuScenes/'
    assert scores[f'{prefix}car_AP_dist_0.5'] > 0.5
    errors = [scores[f'{prefix}car_{name}'] for name in ('trans_err', 'orient_err', 'attr_err')]
    assert errors == pytest.approx([0, 0, 0], abs=1e-3)
    assert scores[f'{prefix}car_vel_err'] == pytest.approx(0, abs=1e-2)

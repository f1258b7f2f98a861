import pickle

import numpy as np
import pytest

from mmptq.demo.nuscenes_infos import CLASSES


def load(folder, split):
    return pickle.loads((folder / f'nuscenes_infos_{split}.pkl').read_bytes())


@pytest.fixture(scope='module')
def devkit(tiny_nuscenes):
    from nuscenes import NuScenes

    return NuScenes('v1.0-trainval', str(tiny_nuscenes), verbose=False)


@pytest.mark.parametrize('split', ['train', 'val'])
def test_boxes_and_velocities_are_those_of_the_devkit(tiny_nuscenes, devkit, split):
    for info in load(tiny_nuscenes, split)['data_list']:
        sample = devkit.get('sample', info['token'])
        assert info['timestamp'] == sample['timestamp'] / 1e6
        _, boxes, _ = devkit.get_sample_data(sample['data']['LIDAR_TOP'])
        to_global = np.array(info['ego2global']) @ np.array(info['lidar_points']['lidar2ego'])
        assert len(boxes) == len(info['instances'])
        for box, instance in zip(boxes, info['instances'], strict=True):
            width, length, height = box.wlh
            assert instance['bbox_3d'][:3] == pytest.approx(box.center, abs=1e-6)
            assert instance['bbox_3d'][3:6] == pytest.approx([length, width, height])
            turn = instance['bbox_3d'][6] - box.orientation.yaw_pitch_roll[0]
            assert np.cos(turn) == pytest.approx(1)
            velocity = to_global[:3, :3] @ [*instance['velocity'], 0.0]
            expected = devkit.box_velocity(box.token)
            np.testing.assert_allclose(velocity[:2], expected[:2], atol=1e-6)


def test_classes_are_named_as_mmdet3d_names_them(tiny_nuscenes, devkit):
    from mmdet3d.datasets.convert_utils import NuScenesNameMapping

    content = load(tiny_nuscenes, 'train')
    assert list(content['metainfo']['categories']) == list(CLASSES)
    info = content['data_list'][0]
    for token, instance in zip(
        devkit.get('sample', info['token'])['anns'], info['instances'], strict=True
    ):
        name = NuScenesNameMapping.get(devkit.get('sample_annotation', token)['category_name'])
        expected = CLASSES.index(name) if name else -1
        assert instance['bbox_label_3d'] == instance['bbox_label'] == expected
        assert instance['bbox_3d_isvalid'] == (instance['num_lidar_pts'] > 0)


def test_sweeps_land_in_the_keyframe(tiny_nuscenes, devkit):
    """The matrix from the info file moves points as the poses of the tables do."""
    from nuscenes.utils.geometry_utils import transform_matrix
    from pyquaternion import Quaternion

    def to_global(token):
        data = devkit.get('sample_data', token)
        steps = []
        for table in ('ego_pose', 'calibrated_sensor'):
            row = devkit.get(table, data[f'{table}_token'])
            steps.append(transform_matrix(row['translation'], Quaternion(row['rotation'])))
        return steps[0] @ steps[1]

    info = load(tiny_nuscenes, 'val')['data_list'][1]
    assert len(info['lidar_sweeps']) == 10
    keyframe = to_global(devkit.get('sample', info['token'])['data']['LIDAR_TOP'])
    for sweep in info['lidar_sweeps']:
        token = sweep['sample_data_token']
        row = devkit.get('sample_data', token)
        assert sweep['lidar_points']['lidar_path'] == row['filename']
        assert sweep['timestamp'] == row['timestamp'] / 1e6 < info['timestamp']
        expected = np.linalg.inv(to_global(token)) @ keyframe
        actual = np.array(sweep['lidar_points']['lidar2sensor'])
        np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_stock_dataset_reads_both_splits(tiny_nuscenes):
    import mmdet3d.datasets  # noqa: F401
    from mmdet3d.registry import DATASETS

    for split in ('train', 'val'):
        dataset = DATASETS.build(
            dict(
                type='NuScenesDataset',
                data_root=str(tiny_nuscenes),
                ann_file=f'nuscenes_infos_{split}.pkl',
                data_prefix=dict(pts='samples/LIDAR_TOP', sweeps='sweeps/LIDAR_TOP'),
                pipeline=[],
            )
        )
        assert len(dataset) == 4
        info = dataset.get_data_info(0)
        labels = info['ann_info']['gt_labels_3d']
        assert len(labels) and set(labels) <= set(range(-1, 10))
        assert info['ann_info']['gt_bboxes_3d'].tensor.shape[1] == 9

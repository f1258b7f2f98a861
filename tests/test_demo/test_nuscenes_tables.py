import json

import pytest

from mmptq.demo.nuscenes_tables import TABLES, VERSION, make_token, quaternion

POINTERS = {
    'calibrated_sensor_token': 'calibrated_sensor',
    'category_token': 'category',
    'ego_pose_token': 'ego_pose',
    'first_annotation_token': 'sample_annotation',
    'first_sample_token': 'sample',
    'instance_token': 'instance',
    'last_annotation_token': 'sample_annotation',
    'last_sample_token': 'sample',
    'log_token': 'log',
    'sample_token': 'sample',
    'scene_token': 'scene',
    'sensor_token': 'sensor',
    'visibility_token': 'visibility',
}


@pytest.fixture(scope='module')
def tables(tiny_nuscenes):
    return {
        name: json.loads((tiny_nuscenes / VERSION / f'{name}.json').read_text()) for name in TABLES
    }


@pytest.fixture(scope='module')
def devkit(tiny_nuscenes):
    from nuscenes import NuScenes

    return NuScenes(VERSION, str(tiny_nuscenes), verbose=False)


def test_tokens_are_unique_and_every_pointer_resolves(tables):
    tokens = {name: [row['token'] for row in rows] for name, rows in tables.items()}
    for name, values in tokens.items():
        assert values and len(values) == len(set(values)), name
    known = {name: set(values) for name, values in tokens.items()}
    for name, rows in tables.items():
        for row in rows:
            for key, target in POINTERS.items():
                assert key not in row or row[key] in known[target], (name, key)
            for key in ('prev', 'next'):
                assert row.get(key, '') in known[name] | {''}
            assert set(row.get('attribute_tokens', [])) <= known['attribute']
            assert set(row.get('log_tokens', [])) <= known['log']


@pytest.mark.parametrize('table', ['sample', 'sample_data', 'sample_annotation'])
def test_chains_are_linked_both_ways(tables, table):
    rows = {row['token']: row for row in tables[table]}
    for token, row in rows.items():
        assert not row['next'] or rows[row['next']]['prev'] == token
        assert not row['prev'] or rows[row['prev']]['next'] == token


def test_counts_agree(tables):
    for scene in tables['scene']:
        samples = [row for row in tables['sample'] if row['scene_token'] == scene['token']]
        assert scene['nbr_samples'] == len(samples) == 2
    for instance in tables['instance']:
        rows = [r for r in tables['sample_annotation'] if r['instance_token'] == instance['token']]
        assert instance['nbr_annotations'] == len(rows)


def test_devkit_finds_the_sweep_of_every_sample(devkit, tiny_nuscenes):
    for sample in devkit.sample:
        path, boxes, _ = devkit.get_sample_data(sample['data']['LIDAR_TOP'])
        assert str(path).startswith(str(tiny_nuscenes / 'samples' / 'LIDAR_TOP'))
        assert [box.token for box in boxes] == sample['anns']


def test_point_counts_are_those_of_the_devkit(devkit):
    from nuscenes.utils.data_classes import LidarPointCloud
    from nuscenes.utils.geometry_utils import points_in_box

    filled = 0
    for sample in devkit.sample:
        path, boxes, _ = devkit.get_sample_data(sample['data']['LIDAR_TOP'])
        points = LidarPointCloud.from_file(str(path)).points[:3].astype(float)
        for box in boxes:
            count = devkit.get('sample_annotation', box.token)['num_lidar_pts']
            assert points_in_box(box, points).sum() == count
            filled += count > 0
    assert filled > 20


def test_sweeps_belong_to_the_keyframe_that_follows(devkit):
    for row in devkit.sample_data:
        sample = devkit.get('sample', row['sample_token'])
        assert 0 <= sample['timestamp'] - row['timestamp'] <= 500_000
        assert row['is_key_frame'] == (sample['timestamp'] == row['timestamp'])


def test_tokens_depend_on_their_parts_only():
    assert make_token(0, 'a', 1) == make_token(0, 'a', 1) != make_token(0, 'a', 2)
    assert len(make_token('x')) == 32
    assert quaternion(0.0) == [1.0, 0.0, 0.0, 0.0]

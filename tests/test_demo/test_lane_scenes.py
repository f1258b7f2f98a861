import os

import cv2
import numpy as np
import pytest

from mmptq.demo import lane_scenes
from mmptq.demo.lane_scenes import CATEGORY_LISTS, generate
from mmptq.demo.road_layout import CATEGORIES
from mmptq.lanes.datasets import CULaneDataset

SIZE = dict(width=164, height=59)


@pytest.fixture(scope='module')
def data_set(tmp_path_factory):
    out = tmp_path_factory.mktemp('demo') / 'lane'
    assert generate(out, train=10, val=11, seed=5, **SIZE)
    return out


def files(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def read(folder, split, **options):
    return CULaneDataset(
        data_root=str(folder),
        ann_file=f'list/{split}_gt.txt',
        metainfo=dict(image_size=(164, 59)),
        pipeline=[],
        **options,
    )


def test_layout_is_that_of_culane(data_set):
    assert sorted(os.listdir(data_set)) == [
        'laneseg_label_w16',
        'list',
        'manifest.json',
        'train',
        'val',
    ]
    assert sorted(os.listdir(data_set / 'list/test_split')) == sorted(CATEGORY_LISTS.values())
    assert len(os.listdir(data_set / 'train')) == 20
    line = (data_set / 'list/train_gt.txt').read_text().splitlines()[3].split()
    assert line[:2] == ['/train/00003.jpg', '/laneseg_label_w16/train/00003.png']
    assert cv2.imread(f'{data_set}{line[0]}').shape == (59, 164, 3)


def test_data_set_class_reads_lanes_slots_and_categories(data_set):
    lists = {name: f'list/test_split/{path}' for name, path in CATEGORY_LISTS.items()}
    dataset = read(data_set, 'val', category_lists=lists, test_mode=True)
    seen = []
    for index in range(len(dataset)):
        info = dataset[index]
        seen += info['eval_ann_info']['categories']
        assert len(info['gt_lanes']) == len(info['gt_lane_slots'])
        assert (info['gt_lane_slots'] >= 0).all() and info['num_lane_slots'] == 4
        assert bool(info['gt_lanes']) == (info['eval_ann_info']['categories'] != ('cross',))
    assert sorted(seen) == sorted([*CATEGORIES, 'normal', 'crowd'])


def test_masks_hold_the_lanes_at_their_positions(data_set):
    dataset = read(data_set, 'train')
    for index in range(len(dataset)):
        path = data_set / f'laneseg_label_w16/train/{index:05d}.png'
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        info = dataset[index]
        assert set(np.unique(mask)) - {0} == set(info['gt_lane_slots'] + 1)
        for lane, slot in zip(info['gt_lanes'], info['gt_lane_slots'], strict=True):
            x, y = np.round(lane[0]).astype(int)
            assert mask[y, x] == slot + 1


def test_same_seed_gives_identical_files_and_a_small_set_begins_a_large_one(data_set, tmp_path):
    generate(tmp_path / 'again', train=10, val=9, seed=5, **SIZE)
    again, first = files(tmp_path / 'again'), files(data_set)
    for path in again:
        if path.suffix != '.json' and 'val_gt' not in path.name and 'test_split' not in str(path):
            assert again[path] == first[path], path
    generate(tmp_path / 'other', train=1, val=9, seed=6, **SIZE)
    other = (tmp_path / 'other/train/00000.jpg').read_bytes()
    assert other != (data_set / 'train/00000.jpg').read_bytes()
    assert other != (data_set / 'val/00000.jpg').read_bytes()


def test_second_call_returns_at_once(data_set):
    before = (data_set / 'manifest.json').stat().st_mtime_ns
    assert not generate(data_set, train=10, val=11, seed=5, **SIZE)
    assert (data_set / 'manifest.json').stat().st_mtime_ns == before


def test_unwritable_image_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(lane_scenes.cv2, 'imwrite', lambda *_: False)
    with pytest.raises(OSError, match=r"00000.jpg' could not be written"):
        generate(tmp_path / 'set', train=1, val=9, **SIZE)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ('name', 'value'), [('train', 0), ('val', 8), ('seed', -1), ('width', 163), ('height', 8)]
)
def test_parameters_out_of_range(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"'{name}' is {value}"):
        generate(tmp_path / 'set', **{name: value})
    assert os.listdir(tmp_path) == []

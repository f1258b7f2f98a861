import json
import os

import cv2
import numpy as np
import pytest

from mmptq.demo import coco_scenes
from mmptq.demo.coco_scenes import generate
from mmptq.demo.scene_2d import CLASSES


@pytest.fixture(scope='module')
def data_set(tmp_path_factory):
    out = tmp_path_factory.mktemp('demo') / 'coco'
    assert generate(out, train=30, val=6, seed=5, width=160, height=128)
    return out


def instances(folder, split):
    return json.loads((folder / 'annotations' / f'instances_{split}.json').read_text())


def files(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def test_layout(data_set):
    assert sorted(os.listdir(data_set)) == ['annotations', 'manifest.json', 'train', 'val']
    for split, count in (('train', 30), ('val', 6)):
        content = instances(data_set, split)
        names = sorted(image['file_name'] for image in content['images'])
        assert names == sorted(os.listdir(data_set / split))
        assert len(names) == count
        assert [category['name'] for category in content['categories']] == list(CLASSES)
        image = cv2.imread(str(data_set / split / names[0]))
        assert image.shape == (128, 160, 3)


def test_annotations_are_valid(data_set):
    content = instances(data_set, 'train')
    image_ids = {image['id'] for image in content['images']}
    annotations = content['annotations']
    assert len({annotation['id'] for annotation in annotations}) == len(annotations)
    for annotation in annotations:
        left, top, width, height = annotation['bbox']
        assert 0 <= left < left + width <= 160
        assert 0 <= top < top + height <= 128
        assert 0 < annotation['area'] <= width * height
        assert annotation['image_id'] in image_ids
        assert annotation['iscrowd'] == 0
        points = np.concatenate([np.reshape(p, (-1, 2)) for p in annotation['segmentation']])
        assert (points >= [left, top]).all()
        assert (points < [left + width, top + height]).all()


def test_all_classes_small_and_large_objects(data_set):
    annotations = instances(data_set, 'train')['annotations']
    assert {annotation['category_id'] for annotation in annotations} == set(range(1, 7))
    sides = np.sqrt([annotation['bbox'][2] * annotation['bbox'][3] for annotation in annotations])
    assert (sides < 16).mean() > 0.1
    assert (sides > 48).mean() > 0.1


def test_same_seed_gives_identical_files(data_set, tmp_path):
    generate(tmp_path / 'again', train=30, val=6, seed=5, width=160, height=128)
    assert files(data_set) == files(tmp_path / 'again')


def test_other_seed_and_other_split_give_other_images(data_set, tmp_path):
    generate(tmp_path / 'other', train=1, val=1, seed=6, width=160, height=128)
    first = (data_set / 'train/000001.jpg').read_bytes()
    assert (tmp_path / 'other/train/000001.jpg').read_bytes() != first
    assert (data_set / 'val/000001.jpg').read_bytes() != first


def test_a_smaller_set_is_the_beginning_of_a_larger_one(data_set, tmp_path):
    generate(tmp_path / 'small', train=2, val=1, seed=5, width=160, height=128)
    for name in ('train/000002.jpg', 'val/000001.jpg'):
        assert (tmp_path / 'small' / name).read_bytes() == (data_set / name).read_bytes()
    small = instances(tmp_path / 'small', 'train')['annotations']
    assert small == instances(data_set, 'train')['annotations'][: len(small)]


def test_second_call_returns_at_once(data_set):
    before = (data_set / 'manifest.json').stat().st_mtime_ns
    assert not generate(data_set, train=30, val=6, seed=5, width=160, height=128)
    assert (data_set / 'manifest.json').stat().st_mtime_ns == before


def test_other_parameters_replace_the_set(tmp_path):
    out = tmp_path / 'set'
    generate(out, train=3, val=1, width=64, height=64)
    assert generate(out, train=1, val=1, width=64, height=64)
    assert os.listdir(out / 'train') == ['000001.jpg']


def test_interruption_leaves_no_final_folder(tmp_path):
    def interrupt(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / 'set', train=3, val=1, width=64, height=64, on_progress=interrupt)
    assert os.listdir(tmp_path) == []


def test_unwritable_image_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(coco_scenes.cv2, 'imwrite', lambda *_: False)
    with pytest.raises(OSError, match=r"000001.jpg' could not be written"):
        generate(tmp_path / 'set', train=1, val=1, width=64, height=64)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ('name', 'value'), [('train', 0), ('val', 0), ('seed', -1), ('width', 63), ('height', 8)]
)
def test_parameters_out_of_range(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"'{name}' is {value}"):
        generate(tmp_path / 'set', **{name: value})
    assert os.listdir(tmp_path) == []

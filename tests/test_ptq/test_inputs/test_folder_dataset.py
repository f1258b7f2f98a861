"""Folders of images and scans: what is listed, what is refused, what a sample holds."""

import os

import numpy as np
import pytest
from mmcv.transforms import BaseTransform
from mmengine.registry import init_default_scope
from PIL import Image

from mmptq.ptq.calibration_data import make_loader
from mmptq.ptq.inputs.folder_dataset import FolderDataset
from mmptq.ptq.inputs.folder_listing import list_samples
from mmptq.quantization import QuantizationError

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_path', 'img_id', 'ori_shape')),
]


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmdet')


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return str(folder)


def test_all_visible_images_below_the_folder(tmp_path):
    names = ['b.jpg', 'a/c.PNG', 'a/deep/d.webp', 'x.bmp', 'notes.txt']
    folder = touch(tmp_path, *names, '._b.jpg', '.cache/e.jpg')
    kind, files = list_samples(folder, 'images')
    assert kind == 'images'
    found = [os.path.relpath(path, folder) for path in files]
    assert found == ['b.jpg', 'x.bmp', 'a/c.PNG', 'a/deep/d.webp']
    assert list_samples(folder, None)[0] == 'images'


def test_links_in_a_circle(tmp_path):
    folder = touch(tmp_path, 'in/a.jpg')
    (tmp_path / 'in/again').symlink_to(tmp_path)
    assert len(list_samples(folder, 'images')[1]) == 1


@pytest.mark.parametrize(
    ('names', 'kind', 'message'),
    [
        ([], 'images', r'holds no images \(.jpg, .* nor do the folders below it'),
        (['a.txt', 'b/c.json'], 'scans', r'holds no scans \(.bin\)'),
        (['a.jpg'], 'scans', 'holds images, and the test pipeline reads scans'),
        (['a.bin'], 'images', 'holds scans, and the test pipeline reads images'),
        (['a.bin', 'b.jpg'], 'images', 'holds 1 images and 1 scans.* holds only images$'),
        (['top/a.bin', 'cam/b.jpg'], None, "only images, such as '.*/cam'"),
        (['top/a.bin', 'cam/b.jpg'], 'scans', "only scans, such as '.*/top'"),
    ],
)
def test_what_a_folder_must_hold(tmp_path, names, kind, message):
    with pytest.raises(QuantizationError, match=message) as caught:
        list_samples(touch(tmp_path, *names), kind)
    assert str(tmp_path) in str(caught.value)


def test_paths_that_are_no_folder(tmp_path):
    with pytest.raises(QuantizationError, match="no' does not exist: give a folder"):
        list_samples(str(tmp_path / 'no'), 'images')
    touch(tmp_path, 'a.jpg')
    with pytest.raises(QuantizationError, match="a.jpg' is a file: give a folder"):
        list_samples(str(tmp_path / 'a.jpg'), 'images')


def test_folder_without_permission(tmp_path, monkeypatch):
    folder, scandir = touch(tmp_path, 'a.jpg', 'in/b.jpg'), os.scandir

    def refuse(path):
        if str(path).endswith('in'):
            raise PermissionError(13, 'Permission denied', str(path))
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    with pytest.raises(QuantizationError, match=r"in' cannot be read \(Permission denied\)"):
        list_samples(folder, 'images')


def save(path, size=(40, 30)):
    Image.fromarray(np.random.randint(0, 255, (*size[::-1], 3), dtype=np.uint8)).save(path)


def test_sample_and_class_names(tmp_path):
    save(tmp_path / 'a.png')
    evaluation = dict(type='CocoDataset', metainfo=dict(classes=('mug',)))
    dataset = FolderDataset(str(tmp_path), PIPELINE, evaluation)
    sample = dataset[0]
    assert sample['inputs'].shape == (3, 30, 40)
    assert sample['data_samples'].img_path == str(tmp_path / 'a.png')
    assert dataset.metainfo['classes'] == ('mug',)
    assert FolderDataset(str(tmp_path), PIPELINE, {}).metainfo == {}


def test_broken_image_is_named_before_anything_runs(tmp_path):
    save(tmp_path / 'a.jpg')
    content = (tmp_path / 'a.jpg').read_bytes()
    (tmp_path / 'b.jpg').write_bytes(content[: len(content) // 2])
    dataset = FolderDataset(str(tmp_path), PIPELINE, {})
    make_loader(dataset, [0], 0)
    with pytest.raises(QuantizationError, match="b.jpg' cannot be decoded .*repair or remove it"):
        make_loader(dataset, [0, 1], 0)


def test_text_with_the_name_of_an_image(tmp_path):
    (tmp_path / 'a.jpg').write_text('no image')
    loader = make_loader(FolderDataset(str(tmp_path), PIPELINE, {}), [0], 0)
    assert "a.jpg' cannot be read" in next(iter(loader))


class NeedsCamera(BaseTransform):
    def transform(self, results):
        results['focal'] = results['cam2img'][0][0]
        return results


def test_pipeline_that_needs_more_than_an_image(tmp_path):
    save(tmp_path / 'a.png')
    pipeline = [PIPELINE[0], dict(type=NeedsCamera), PIPELINE[2]]
    loader = make_loader(FolderDataset(str(tmp_path), pipeline, {}), [0], 0)
    assert "the test pipeline needs 'cam2img', which a folder does not hold" in next(iter(loader))

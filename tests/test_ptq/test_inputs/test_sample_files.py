"""Files of samples in data sets of any kind, without their labels being read."""

from pathlib import Path

import numpy as np
import pytest
from mmengine.dataset import BaseDataset, ClassBalancedDataset, RepeatDataset
from mmengine.dataset import ConcatDataset as Concat
from torch.utils.data import ConcatDataset, Dataset, Subset

from mmptq.ptq.calibration_data import make_loader
from mmptq.ptq.inputs.overlap import check_overlap
from mmptq.ptq.inputs.sample_files import (
    info_files,
    lacking_cameras,
    missing_image,
    sample_files,
    sample_title,
    scan_path,
)
from mmptq.quantization import QuantizationError


class Labelled(BaseDataset):
    """Reads labels in get_data_info, as lane data sets do, and here there are none."""

    def __init__(self, *names):
        self.names = names
        super().__init__()

    def load_data_list(self):
        return [dict(img_path=name) for name in self.names]

    def get_data_info(self, index):
        raise FileNotFoundError('labels/0.txt')

    def get_cat_ids(self, index):
        return [0]


class Asked(Dataset):
    """Knows its files only when asked, and has a length and infos of numpy's types."""

    def __init__(self, *names):
        self.names = names

    def __len__(self):
        return np.int64(len(self.names))

    def get_data_info(self, index):
        return dict(img_path=np.str_(self.names[index]), img_id=np.int64(index))


class Silent(Dataset):
    def __len__(self):
        return 2


def test_files_of_2d_and_3d_samples():
    assert info_files(dict(img_path='/a/../b.jpg')) == {'/b.jpg'}
    images = dict(CAM=dict(img_path='/c.jpg'), R0_rect=[[1.0]])
    info = dict(lidar_points=dict(lidar_path='/d.bin'), images=images)
    assert info_files(info) == {'/c.jpg', '/d.bin'}
    video = dict(images=[dict(img_path=Path('/e.jpg')), dict(img_path='/f.jpg')])
    assert info_files(video) == {'/e.jpg', '/f.jpg'}
    assert info_files(dict(img_path=['/g.jpg', None], lidar_points=None)) == {'/g.jpg'}
    assert info_files(None) == info_files(dict(img_path=7)) == set()


@pytest.mark.parametrize(
    ('dataset', 'expected'),
    [
        (Labelled('/a', '/b'), ['/a', '/b']),
        (Asked('/a', '/b'), ['/a', '/b']),
        (Subset(Labelled('/a', '/b', '/c'), [2, 0]), ['/c', '/a']),
        (ConcatDataset([Labelled('/a'), Asked('/b', '/c')]), ['/a']),
        (Concat([Labelled('/a'), Labelled('/b', '/c')]), ['/a', '/b', '/c']),
        (RepeatDataset(Labelled('/a', '/b'), 2), ['/a', '/b', '/a', '/b']),
        (ClassBalancedDataset(Labelled('/a', '/b'), 0.1), ['/a', '/b']),
        (ConcatDataset([RepeatDataset(Labelled('/a'), 2), Labelled('/b')]), ['/a', '/a', '/b']),
    ],
)
def test_wrappers_and_own_classes(dataset, expected):
    assert [sorted(sample_files(dataset, i))[0] for i in range(len(expected))] == expected


def test_datasets_that_name_nothing():
    assert sample_files(Silent(), 0) == set()
    assert sample_title(Silent(), 1) == 'calibration sample no. 1'
    assert sample_title(Labelled('/a'), 0) == "calibration sample '/a'"
    assert scan_path(Silent(), 0) is None


def test_links_lead_to_the_same_file(tmp_path):
    (tmp_path / 'a.jpg').touch()
    (tmp_path / 'b.jpg').symlink_to(tmp_path / 'a.jpg')
    (tmp_path / 'inner').mkdir()
    (tmp_path / 'folder').symlink_to(tmp_path / 'inner')
    assert info_files(dict(img_path=str(tmp_path / 'b.jpg'))) == {str(tmp_path / 'a.jpg')}
    inner = {str(tmp_path / 'inner/x')}
    assert info_files(dict(img_path=str(tmp_path / 'folder/x'))) == inner


@pytest.mark.parametrize('kind', [Labelled, Asked])
def test_overlap_by_file_not_by_index(tmp_path, kind):
    train = kind(*[str(tmp_path / name) for name in 'abc'])
    val = kind(*[str(tmp_path / name) for name in 'cd'])
    check_overlap(train, [0, 1], val, only_warn=False)
    with pytest.raises(QuantizationError, match="1 calibration .*/c'.*calibration.overlap=warn"):
        check_overlap(train, [0, 2], val, only_warn=False)
    check_overlap(train, [0, 2], val, only_warn=True)
    check_overlap(Silent(), [0, 1], val, only_warn=False)
    check_overlap(train, [0, 1], Silent(), only_warn=False)


class Sensors(BaseDataset):
    """Samples of several cameras and a LiDAR, as mmdet3d's data sets hold them."""

    def __init__(self, folder, camera=True, lidar=True, names=('left', 'right')):
        self.modality = dict(use_camera=camera, use_lidar=lidar)
        self.folder, self.names = folder, names
        super().__init__()

    def load_data_list(self):
        images = {f'CAM_{name}': dict(img_path=f'{self.folder}/{name}.jpg') for name in self.names}
        return [dict(images=images, lidar_points=dict(lidar_path=f'{self.folder}/scan.bin'))]


def test_only_sensors_that_are_used_count(tmp_path):
    def names(**modality):
        files = sample_files(Sensors(tmp_path, **modality), 0)
        return sorted(Path(file).name for file in files)

    assert names() == ['left.jpg', 'right.jpg', 'scan.bin']
    assert names(camera=False) == ['scan.bin']
    assert names(lidar=False) == ['left.jpg', 'right.jpg']


class Rigs(Sensors):
    """Samples whose cameras differ."""

    def load_data_list(self):
        return [
            dict(images={f'CAM_{n}': dict(img_path=f'{self.folder}/{n}.jpg') for n in names})
            for names in self.names
        ]


def test_a_sample_without_one_of_the_cameras(tmp_path):
    for name in ('left', 'right', 'back'):
        (tmp_path / f'{name}.jpg').touch()
    full = ('left', 'right', 'back')
    dataset = Rigs(tmp_path, names=(full, ('left', 'right'), full))
    assert lacking_cameras(dataset, [0, 1, 2]) == {1: 'CAM_back'}
    assert lacking_cameras(dataset, [0, 2]) == {}
    with pytest.raises(QuantizationError) as error:
        make_loader(dataset, [0, 1], 0)
    assert "left.jpg' lacks the camera CAM_back, which other samples have: rep" in str(error.value)
    single = Rigs(tmp_path, names=(('left',), ('right',), ('back',)))
    assert lacking_cameras(single, [0, 1, 2]) == {}
    both = ConcatDataset([dataset, Rigs(tmp_path, names=(('left', 'right'),) * 2)])
    assert lacking_cameras(both, range(5)) == {1: 'CAM_back'}
    assert lacking_cameras(Silent(), [0, 1]) == {}


def test_a_camera_without_its_image(tmp_path):
    (tmp_path / 'left.jpg').touch()
    dataset = Sensors(tmp_path, lidar=False)
    path = str(tmp_path / 'right.jpg')
    assert missing_image(dataset, 0) == ('CAM_right', path)
    with pytest.raises(QuantizationError) as error:
        make_loader(dataset, [0], 0)
    assert f"left.jpg' lacks the image of CAM_right, '{path}': repair" in str(error.value)
    assert missing_image(Sensors(tmp_path, camera=False), 0) is None
    assert missing_image(Sensors(tmp_path, names=('right',)), 0) is None
    assert missing_image(Silent(), 0) is None
    (tmp_path / 'right.jpg').touch()
    assert missing_image(dataset, 0) is None


def test_overlap_of_one_camera(tmp_path):
    train, val = Sensors(tmp_path), Sensors(tmp_path, lidar=False, names=('right', 'back'))
    with pytest.raises(QuantizationError, match="1 calibration samples .*/right.jpg' for one"):
        check_overlap(train, [0], val, only_warn=False)
    check_overlap(Sensors(tmp_path, camera=False), [0], val, only_warn=False)

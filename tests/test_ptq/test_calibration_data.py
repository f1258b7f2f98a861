"""The train split or a folder through the test pipeline: choice of samples, bad files, seeds."""

import random

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import FUNCTIONS, init_default_scope
from torch.utils.data import DataLoader, Dataset, IterableDataset

from mmptq.ptq.calibration_data import CalibrationDataset, calibration_loader, make_loader
from mmptq.ptq.inputs.calibration_settings import choose_samples, spread_samples
from mmptq.quantization import QuantizationError


class Files:
    """Stands for an OpenMMLab dataset."""

    def __init__(self, names, broken=()):
        self.names, self.broken = names, broken

    def __len__(self):
        return len(self.names)

    def get_data_info(self, index):
        return dict(img_path=self.names[index])

    def __getitem__(self, index):
        if index in self.broken:
            raise OSError('premature end')
        return dict(inputs=index)


class Noise(Dataset):
    """Own data without metainfo, full_init and get_data_info: random samples of each stream."""

    def __init__(self, count=5):
        self.count = count

    def __len__(self):
        return np.int64(self.count)

    def __getitem__(self, index):
        return dict(inputs=[random.random(), np.random.rand(), torch.rand(()).item()])


def test_choice_is_seeded_sorted_and_without_repetition():
    first, again, other = (choose_samples(100, 20, seed) for seed in (1, 1, 2))
    assert first == again == sorted(set(first))
    assert first != other
    assert choose_samples(5, 5, 0) == choose_samples(5, None, 0) == [0, 1, 2, 3, 4]
    assert len(choose_samples(1000, None, 0)) == 256


def test_too_few_samples():
    with pytest.raises(QuantizationError, match='more than the 3 samples of the train split'):
        choose_samples(3, 4, 0)
    with pytest.raises(QuantizationError, match='the train split is empty'):
        choose_samples(0, None, 0)


def test_frames_of_a_folder_are_spread():
    chosen = spread_samples(100, 10, 0)
    assert [index // 10 for index in chosen] == list(range(10))
    assert chosen == spread_samples(100, 10, 0) != spread_samples(100, 10, 1)
    assert spread_samples(7, 7, 3) == list(range(7))


@pytest.mark.parametrize('num_workers', [0, 1])
def test_unreadable_sample_becomes_a_sentence(num_workers):
    loader = make_loader(Files(['/a.jpg', '/b.jpg', '/c.jpg'], broken=[1]), [2, 1], num_workers)
    batches = list(loader)
    assert batches[0] == dict(inputs=[2])
    assert "'/b.jpg' cannot be read (OSError: premature end): repair or remove it" in batches[1]


def test_order_is_that_of_the_choice():
    dataset = CalibrationDataset(Files(list('abcd')), [3, 1])
    assert [dataset[i]['inputs'] for i in range(len(dataset))] == [3, 1]


def test_random_pipelines_give_the_same_samples_on_every_pass_and_in_workers():
    def read(num_workers, seed=0):
        return [batch['inputs'] for batch in make_loader(Noise(), [4, 0, 2], num_workers, seed)]

    first = read(0)
    assert first == read(0) == read(2)
    assert len({value[0] for sample in first for value in sample}) == 9
    assert first != read(0, seed=1)
    # A sample does not depend on the others that were chosen.
    assert make_loader(Noise(), [2], 0).dataset[0]['inputs'] == [v[0] for v in first[2]]


def test_own_random_streams_go_on_as_if_no_sample_was_read():
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    expected = torch.rand(2).tolist(), np.random.rand(), random.random()
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    make_loader(Noise(), [0, 1], 0).dataset[1]
    assert (torch.rand(2).tolist(), np.random.rand(), random.random()) == expected


def loader_of(**cfg):
    init_default_scope('mmdet')
    return calibration_loader(Config(cfg), 0)


@pytest.fixture
def images(tiny_data):
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='PackDetInputs', meta_keys=('img_path', 'img_id')),
    ]
    evaluation = dict(type='CocoDataset', ann_file='nowhere.json', pipeline=pipeline)
    return dict(
        calibration=dict(data=str(tiny_data / 'train')),
        test_dataloader=dict(dataset=evaluation),
        metainfo=None,
    )


def test_folder_needs_neither_labels_nor_train_data(images):
    loader = loader_of(**images)
    assert len(loader) == 6
    sample = next(iter(loader))
    assert sample['inputs'][0].shape == (3, 64, 96)
    paths = [batch['data_samples'][0].img_path for batch in loader]
    assert paths == sorted(paths)
    assert loader.dataset.dataset.metainfo['classes'][0] == 'person'  # of CocoDataset


def test_number_of_samples_of_a_folder(images):
    images['calibration']['num_samples'] = 4
    assert len(loader_of(**images)) == 4
    images['calibration']['num_samples'] = 7
    with pytest.raises(QuantizationError, match='more than the 6 samples of calibration folder'):
        loader_of(**images)


def test_pipeline_of_a_config_without_evaluation_data(images):
    pipeline = images.pop('test_dataloader')['dataset']['pipeline']
    with pytest.raises(QuantizationError, match='no val_dataloader with a test pipeline'):
        loader_of(**images)
    assert len(loader_of(**images, test_pipeline=pipeline)) == 6


def test_own_dataset_without_pipeline_and_without_anything_of_mmengine():
    dataset = Noise(3)
    loader = loader_of(train_dataloader=dict(dataset=dict(type=Noise, count=3)))
    assert [batch['inputs'] for batch in loader] == [
        batch['inputs'] for batch in make_loader(dataset, [0, 1, 2], 0)
    ]
    assert len(loader_of(train_dataloader=dict(dataset=dict(type=Noise)))) == 5


def test_missing_train_data_names_the_way_out():
    with pytest.raises(QuantizationError, match='no .train_dataloader.* --calibration-data'):
        loader_of()


def first_of_each(batch):
    return dict(first=batch[0])


def test_batches_are_made_as_those_of_the_evaluation():
    train = dict(train_dataloader=dict(dataset=dict(type=Noise, count=2)))
    FUNCTIONS.register_module(name='first_of_each', module=first_of_each, force=True)
    evaluation = dict(collate_fn=dict(type='mmengine.first_of_each'), dataset=dict(pipeline=[]))
    for key in ('val_dataloader', 'test_dataloader'):
        assert set(next(iter(loader_of(**train, **{key: evaluation})))) == {'first'}
    loader = DataLoader(Noise(2), collate_fn=first_of_each)
    assert set(next(iter(loader_of(**train, val_dataloader=loader)))) == {'first'}
    assert 'inputs' in next(iter(loader_of(**train)))


class Endless(IterableDataset):
    def __iter__(self):
        return iter(range(3))


class NoLength:
    def __getitem__(self, index):
        return index


@pytest.mark.parametrize('kind', [Endless, NoLength])
def test_a_dataset_without_a_length(kind):
    with pytest.raises(QuantizationError, match=f'from {kind.__name__}.* has no length'):
        loader_of(train_dataloader=dict(dataset=dict(type=kind)))
    if kind is Endless:
        with pytest.raises(QuantizationError, match='from Endless.* has no length'):
            loader_of(train_dataloader=DataLoader(Endless()))

"""The train split through the test pipeline: wrappers, choice of samples, overlap."""

import pytest

from mmptq.ptq.calibration_data import (
    CalibrationDataset,
    as_test_dataset,
    check_overlap,
    choose_samples,
    make_loader,
    pipeline_of,
    sample_files,
)
from mmptq.quantization import QuantizationError

TEST = [dict(type='Test')]
PLAIN = dict(
    type='CocoDataset',
    ann_file='train.json',
    pipeline=[dict(type='Train')],
    filter_cfg=dict(filter_empty_gt=True, min_size=32),
)


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


@pytest.mark.parametrize(
    'dataset',
    [
        PLAIN,
        dict(type='CBGSDataset', dataset=PLAIN),
        dict(type='RepeatDataset', times=3, dataset=dict(type='CBGSDataset', dataset=PLAIN)),
        dict(type='MultiImageMixDataset', dataset=PLAIN, pipeline=[dict(type='Mosaic')]),
    ],
)
def test_wrappers_are_removed(dataset):
    got = as_test_dataset(dataset, TEST)
    assert got == dict(type='CocoDataset', ann_file='train.json', pipeline=TEST, test_mode=True)
    assert PLAIN['pipeline'] == [dict(type='Train')]


def test_concatenation_stays():
    got = as_test_dataset(dict(type='ConcatDataset', datasets=[PLAIN, PLAIN]), TEST)
    assert [d['pipeline'] for d in got['datasets']] == [TEST, TEST]


def test_pipeline_inside_wrappers():
    assert pipeline_of(dict(type='W', dataset=dict(pipeline=TEST))) == TEST
    assert pipeline_of(dict(type='C', datasets=[dict(pipeline=TEST)])) == TEST
    assert pipeline_of(dict()) is None


def test_choice_is_seeded_and_without_repetition():
    first, again, other = (choose_samples(100, 20, seed) for seed in (1, 1, 2))
    assert first == again == sorted(set(first))
    assert first != other
    assert choose_samples(5, 5, 0) == [0, 1, 2, 3, 4]


def test_files_of_2d_and_3d_samples():
    assert sample_files(dict(img_path='/a/../b.jpg')) == {'/b.jpg'}
    images = dict(CAM=dict(img_path='/c.jpg'), R0_rect=[[1.0]])
    info = dict(lidar_points=dict(lidar_path='/d.bin'), images=images)
    assert sample_files(info) == {'/c.jpg', '/d.bin'}


def test_overlap_by_file_not_by_index(tmp_path):
    train = Files([str(tmp_path / name) for name in 'abc'])
    val = Files([str(tmp_path / name) for name in 'cd'])
    check_overlap(train, [0, 1], val, only_warn=False)
    with pytest.raises(QuantizationError, match="1 calibration samples .*/c'"):
        check_overlap(train, [0, 2], val, only_warn=False)
    check_overlap(train, [0, 2], val, only_warn=True)


@pytest.mark.parametrize('num_workers', [0, 1])
def test_unreadable_sample_becomes_a_sentence(num_workers):
    loader = make_loader(Files(['/a.jpg', '/b.jpg', '/c.jpg'], broken=[1]), [2, 1], num_workers)
    batches = list(loader)
    assert batches[0] == dict(inputs=[2])
    assert "'/b.jpg' cannot be read (OSError: premature end)" in batches[1]


def test_order_is_that_of_the_choice():
    dataset = CalibrationDataset(Files(list('abcd')), [3, 1])
    assert [dataset[i]['inputs'] for i in range(len(dataset))] == [3, 1]

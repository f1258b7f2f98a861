"""Train data turned into test data: wrappers, labels, classes of any kind."""

import pytest
from helpers import as_test_dataset
from mmengine.dataset import BaseDataset, RepeatDataset
from torch.utils.data import ConcatDataset, Dataset

from mmptq.ptq.inputs.train_dataset import (
    skip_labels,
    takes_pipeline,
    train_leaves,
    with_pipelines,
)

TEST = [dict(type='Test')]
PLAIN = dict(
    type='CocoDataset',
    ann_file='train.json',
    pipeline=[dict(type='Train')],
    filter_cfg=dict(filter_empty_gt=True, min_size=32),
)


class Bare(Dataset):
    def __init__(self, dataset='kitti'):
        self.dataset = dataset


class OwnPipeline(Dataset):
    def __init__(self, root, pipeline):
        self.pipeline = pipeline


class Labelled(BaseDataset):
    def load_data_list(self):
        return [dict(img_path='a.jpg')]

    def skip_labels(self):
        self.skipped = True


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
    assert got['type'] == 'ConcatDataset'


def test_each_inner_dataset_gets_its_own_pipeline():
    nested = dict(
        type='ConcatDataset', datasets=[PLAIN, dict(type='RepeatDataset', times=2, dataset=PLAIN)]
    )
    assert train_leaves(nested) == [PLAIN, PLAIN]
    pipelines = iter([TEST, [dict(type='Other')]])
    got = with_pipelines(nested, lambda: next(pipelines), None)
    assert [d['pipeline'] for d in got['datasets']] == [TEST, [dict(type='Other')]]


def test_own_classes_get_only_what_they_take():
    assert as_test_dataset(dict(type=Bare, dataset='waymo'), TEST) == dict(
        type=Bare, dataset='waymo'
    )
    assert not takes_pipeline(dict(type=Bare))
    got = as_test_dataset(dict(type=OwnPipeline, root='x', pipeline=[]), TEST)
    assert got == dict(type=OwnPipeline, root='x', pipeline=TEST)


def test_dataset_objects():
    dataset = Labelled(pipeline=[])
    turned = with_pipelines(dataset, list, None)
    assert turned.test_mode
    assert not dataset.test_mode
    bare = Bare()
    assert with_pipelines(bare, lambda: TEST, None) is bare


def test_labels_are_skipped_inside_of_wrappers():
    inner = [Labelled(), Labelled()]
    skip_labels(ConcatDataset([inner[0], RepeatDataset(inner[1], 2)]))
    assert all(dataset.skipped for dataset in inner)
    skip_labels(Bare())

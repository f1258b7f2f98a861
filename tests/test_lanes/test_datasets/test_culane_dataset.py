"""Reading of CULane's lists and lane files."""

import logging

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, METRICS
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope
from torch.utils.data import DataLoader

import mmptq.lanes.datasets  # noqa: F401

META = dict(image_size=(164, 59))
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneCropTop', rows=19),
    dict(type='LaneResize', scale=(82, 20)),
    dict(type='PackLaneInputs'),
]


@pytest.fixture(autouse=True)
def scope():
    DefaultScope.get_instance('lanes', scope_name='mmdet')


def build(root, ann_file='list/train_gt.txt', serialize_data=False, **kwargs):
    cfg = dict(type='CULaneDataset', data_root=str(root), ann_file=ann_file, metainfo=META)
    return DATASETS.build(dict(cfg, serialize_data=serialize_data, **kwargs))


def test_lanes_of_each_image(culane):
    dataset = build(culane)
    assert len(dataset) == 3 and dataset.metainfo['dataset_type'] == 'culane'
    info = dataset.get_data_info(0)
    assert info['img_path'] == str(culane / 'drive/0.jpg')
    first, second = info['gt_lanes']
    assert first.tolist() == [[30, 59], [40, 49], [50, 39], [60, 29]]
    assert first.dtype == np.float32
    assert second.tolist() == [[90.5, 59.25], [88, 49], [86, 39]]
    assert info['gt_lane_slots'].tolist() == [1, 2] and info['num_lane_slots'] == 4
    assert 'eval_ann_info' not in info


def test_image_without_lanes(culane):
    info = build(culane).get_data_info(1)
    assert info['gt_lanes'] == [] and info['gt_lane_slots'].tolist() == []


def test_flags_that_disagree_with_the_lanes_are_unknown_positions(culane):
    assert build(culane).get_data_info(2)['gt_lane_slots'].tolist() == [-1, -1]


def test_list_without_flags(culane):
    info = build(culane, 'list/test.txt').get_data_info(0)
    assert info['gt_lane_slots'].tolist() == [-1, -1] and info['num_lane_slots'] == 0


def test_order_is_bottom_to_top_for_training_only(culane):
    (culane / 'drive/0.lines.txt').write_text('60 29 50 39 40 49\n')
    info = build(culane, test_mode=True).get_data_info(0)
    assert info['gt_lanes'][0].tolist() == [[40, 49], [50, 39], [60, 29]]
    assert info['eval_ann_info']['lanes'][0].tolist() == [[60, 29], [50, 39], [40, 49]]


def test_categories(culane):
    lists = dict(normal='list/test_split/normal.txt', cross='list/test_split/cross.txt')
    dataset = build(culane, 'list/test.txt', category_lists=lists, test_mode=True)
    found = [dataset.get_data_info(i)['eval_ann_info']['categories'] for i in range(3)]
    assert found == [('normal',), ('cross',), ()]


def test_category_list_of_another_split(culane):
    (culane / 'list/other.txt').write_text('elsewhere/0.jpg\n')
    with pytest.raises(ValueError, match=r"other.txt' has no image in common with .*test.txt'"):
        build(culane, 'list/test.txt', category_lists=dict(normal='list/other.txt'))


def test_from_files_to_scores(culane):
    """The lanes of a perfect model score 1, through loader, pipeline and metric."""
    lists = dict(normal='list/test_split/normal.txt', cross='list/test_split/cross.txt')
    settings = dict(category_lists=lists, test_mode=True, pipeline=PIPELINE)
    dataset = build(culane, 'list/test.txt', serialize_data=True, **settings)
    metric = METRICS.build(dict(type='CULaneMetric', image_size=(164, 59), lane_width=3))
    evaluator = Evaluator(metric)
    for batch in DataLoader(
        dataset, batch_size=2, num_workers=1, collate_fn=lambda samples: samples
    ):
        for item in batch:
            assert item['inputs'].shape == (3, 20, 82)
            sample = item['data_samples']
            sample.pred_lanes = mmptq.lanes.geometry.lanes_to_original(
                sample.gt_lanes, sample.metainfo
            )
            assert all(lane.dtype == torch.float32 for lane in sample.pred_lanes)
            evaluator.process([sample])
    scores = evaluator.evaluate(3)
    assert scores['culane/F1'] == scores['culane/F1_normal'] == 1
    assert scores['culane/FP_cross'] == 0 and scores['culane/TP'] == 4


def test_real_sized_images_are_expected_by_default(culane):
    dataset = DATASETS.build(
        dict(
            type='CULaneDataset',
            data_root=str(culane),
            ann_file='list/test.txt',
            pipeline=PIPELINE,
        )
    )
    with pytest.raises(ValueError, match=r"0.jpg' is 164x59 pixels.*1640x590: set metainfo"):
        dataset[0]


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('1 2 3 4\n5 6 7\n', r"0.lines.txt', line 2: odd number of values"),
        ('1 2 nan 4\n', r"0.lines.txt', line 1: 'nan' is not a finite coordinate"),
        ('1 2 inf 4\n', r"line 1: 'inf' is not a finite"),
        ('1, 2, 3, 4\n', r"line 1: '1,' is not a number"),
        (None, r"lane file '.*0.lines.txt' cannot be read \(No such file"),
    ],
)
def test_bad_lane_file(culane, text, message):
    path = culane / 'drive/0.lines.txt'
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        build(culane).get_data_info(0)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('5 5\n30 59 40 49\n', 'fewer than two points'),
        ('5 5 5 5\n30 59 40 49\n', 'fewer than two points'),
        ('\n30 59 40 49\n', 'fewer than two points'),
        ('-9 59 -5 49\n30 59 40 49\n', 'outside the 164x59 image'),
        ('200 59 164 49\n30 59 40 49\n', 'outside the 164x59 image'),
    ],
)
def test_lane_that_cannot_be_trained_on_still_counts(culane, caplog, monkeypatch, text, reason):
    """It is left out of training with a warning, once, and stays in the evaluation."""
    (culane / 'drive/0.lines.txt').write_text(text)
    dataset = build(culane, test_mode=True)
    messages = []
    logger = logging.getLogger('lane_test')
    monkeypatch.setattr(logger, 'warning', messages.append)
    monkeypatch.setattr(
        'mmptq.lanes.datasets.lane_dataset.MMLogger.get_current_instance', lambda: logger
    )
    info = dataset.get_data_info(0)
    dataset.get_data_info(0)
    assert [lane.tolist() for lane in info['gt_lanes']] == [[[30, 59], [40, 49]]]
    assert info['gt_lane_slots'].tolist() == [2]
    assert len(info['eval_ann_info']['lanes']) == 2
    assert len(messages) == 1 and reason in messages[0] and "0.lines.txt'" in messages[0]


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a.jpg\nb.jpg b.png\n', "line 2: 2 columns; expected 'image' or"),
        ('a.jpg a.png 1 0 2 0\n', 'line 1: 6 columns'),
        ('a.jpg a.png 1 0\nb.jpg b.png 1 0 1\n', 'line 2: 3 lane flags, but 2 in the previous'),
        ('\n \n', 'is empty'),
        (b'\xff\xd8\xff\xe0', 'is not a text file'),
        (None, r"image list '.*bad.txt' cannot be read .*check data_root"),
    ],
)
def test_bad_list(culane, text, message):
    path = culane / 'list/bad.txt'
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message) as error:
        build(culane, 'list/bad.txt')
    assert 'bad.txt' in str(error.value) and '\n' not in str(error.value)

"""Reading of TuSimple's annotations."""

import json

import pytest
from mmdet.registry import DATASETS, METRICS
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope

import mmptq.lanes.datasets  # noqa: F401
from mmptq.lanes.geometry.lane_geometry import lanes_to_original

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneResize', scale=(82, 32)),
    dict(type='PackLaneInputs'),
]


@pytest.fixture(autouse=True)
def scope():
    DefaultScope.get_instance('lanes', scope_name='mmdet')


def build(root, **kwargs):
    return DATASETS.build(
        dict(
            type='TuSimpleLaneDataset',
            data_root=str(root),
            ann_file='label.json',
            metainfo=dict(image_size=(164, 59)),
            **kwargs,
        )
    )


def test_present_points_from_bottom_to_top(tusimple):
    dataset = build(tusimple, test_mode=True)
    info = dataset.get_data_info(0)
    assert info['img_path'] == str(tusimple / 'clips/a/20.jpg')
    assert [lane.tolist() for lane in info['gt_lanes']] == [[[40, 50], [45, 40], [50, 30]]]
    truth = info['eval_ann_info']
    assert truth['lane_xs'] == [[-2, 50, 45, 40], [-2, -2, -2, 7]]
    assert truth['h_samples'].tolist() == [20, 30, 40, 50]
    assert info['gt_lane_slots'].tolist() == [-1] and info['num_lane_slots'] == 0
    assert dataset.get_data_info(1)['gt_lanes'] == []


def test_from_files_to_scores(tusimple):
    dataset = build(tusimple, test_mode=True, pipeline=PIPELINE)
    sample = dataset[0]['data_samples']
    sample.pred_lanes = lanes_to_original(sample.gt_lanes, sample.metainfo)
    evaluator = Evaluator(METRICS.build(dict(type='TuSimpleMetric')))
    evaluator.process([sample])
    scores = evaluator.evaluate(1)
    # The lane of one point is not predicted; of its four rows one is absent on both sides.
    assert scores['tusimple/accuracy'] == pytest.approx((1 + 0.25) / 2)
    assert (scores['tusimple/FP'], scores['tusimple/FN']) == (0, 0.5)


def entry(**changes) -> str:
    good = dict(raw_file='a.jpg', h_samples=[10, 20], lanes=[[1, 2]])
    return json.dumps({**good, **changes})


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (entry() + '\n{"raw_file": ', 'line 2: not JSON'),
        ('[1, 2]', 'line 1: missing h_samples, lanes, raw_file'),
        ('{"raw_file": "a.jpg"}', 'line 1: missing h_samples, lanes'),
        (entry(lanes=[[1, 2], [1, 2, 3]]), 'line 1: lane 2 has 3 x for 2 h_samples'),
        (entry(lanes=[[1, float('nan')]]), 'line 1: lane 1 is not a list of finite numbers'),
        (entry(lanes=[[1, 'x']]), 'line 1: lane 1 is not a list of finite numbers'),
        (entry(lanes=[5]), 'line 1: lane 1 is not a list of finite numbers'),
        (entry(lanes=None), 'line 1: h_samples must be a list of numbers and lanes'),
        (entry(h_samples=[], lanes=[]), 'line 1: h_samples must be'),
        (entry(raw_file=3), 'line 1: raw_file must be the path'),
        ('\n', 'is empty'),
        (None, 'cannot be read'),
    ],
)
def test_bad_annotation(tusimple, text, message):
    path = tusimple / 'label.json'
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        build(tusimple)
    assert 'label.json' in str(error.value) and '\n' not in str(error.value)

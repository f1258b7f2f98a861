"""Reading of folders of images and lane files."""

import cv2
import numpy as np
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


@pytest.fixture
def folders(tmp_path):
    """Images 2, 10 and 11 with two lanes, none and one; a file that is no image."""
    for name in ('images', 'labels'):
        (tmp_path / name).mkdir()
    for name in ('10.png', '2.png', '11.PNG'):
        cv2.imwrite(str(tmp_path / 'images' / name), np.zeros((59, 164, 3), dtype=np.uint8))
    (tmp_path / 'images/notes.md').write_text('no image')
    (tmp_path / 'labels/2.txt').write_text('30 30 40 50\n100 55 90 25\n')
    (tmp_path / 'labels/10.txt').write_text('')
    (tmp_path / 'labels/11.txt').write_text('7 20 7 50\n')
    return tmp_path


def build(root, **changes):
    cfg = dict(
        type='LaneFolderDataset',
        data_root=str(root),
        data_prefix=dict(img_path='images', lane_path='labels'),
    )
    return DATASETS.build(cfg | changes)


def test_images_with_their_lanes(folders):
    dataset = build(folders)
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    assert [info['img_path'][-6:] for info in infos] == ['/2.png', '10.png', '11.PNG']
    assert [len(info['gt_lanes']) for info in infos] == [2, 0, 1]
    assert infos[0]['gt_lanes'][0].tolist() == [[40, 50], [30, 30]]
    assert infos[0]['gt_lane_slots'].tolist() == [-1, -1]
    assert 'eval_ann_info' not in infos[0]


def test_rows_for_the_tusimple_metric(folders):
    dataset = build(folders, test_mode=True, h_samples=(20, 60, 10))
    truth = dataset.get_data_info(0)['eval_ann_info']
    assert truth['h_samples'].tolist() == [20, 30, 40, 50]
    assert truth['lane_xs'][0] == [-2, 30, 35, 40]
    assert truth['lane_xs'][1][1:] == pytest.approx([90 + 10 * 5 / 30, 95, 90 + 10 * 25 / 30])
    assert [lane.tolist() for lane in truth['lanes']][0] == [[30, 30], [40, 50]]
    assert dataset.get_data_info(1)['eval_ann_info']['lane_xs'] == []


@pytest.mark.parametrize(
    ('metric', 'score'), [('TuSimpleMetric', 'accuracy'), ('CULaneMetric', 'F1')]
)
def test_from_files_to_scores(folders, metric, score):
    dataset = build(folders, test_mode=True, h_samples=(20, 60, 10), pipeline=PIPELINE)
    options = dict(image_size=(164, 59), lane_width=3) if metric == 'CULaneMetric' else {}
    evaluator = Evaluator(METRICS.build(dict(type=metric, **options)))
    for index in (0, 2):
        sample = dataset[index]['data_samples']
        sample.pred_lanes = lanes_to_original(sample.gt_lanes, sample.metainfo)
        evaluator.process([sample])
    scores = {name.split('/')[1]: value for name, value in evaluator.evaluate(2).items()}
    assert scores[score] == 1


def test_what_is_missing(folders):
    with pytest.raises(ValueError, match="image folder '.*nothing' cannot be read .*data_prefix"):
        build(folders, data_prefix=dict(img_path='nothing', lane_path='labels'))
    with pytest.raises(ValueError, match="image folder '.*labels' has no images"):
        build(folders, data_prefix=dict(img_path='labels', lane_path='labels'))
    (folders / 'labels/10.txt').unlink()
    with pytest.raises(ValueError, match="lane file '.*10.txt' cannot be read"):
        build(folders).get_data_info(1)
    (folders / 'labels/10.txt').write_text('1 2 3\n')
    with pytest.raises(ValueError, match="10.txt', line 1: odd number of values"):
        build(folders).get_data_info(1)


def test_own_frames_without_labels(folders):
    dataset = build(folders, data_prefix=dict(img_path='images'), pipeline=PIPELINE)
    with pytest.raises(ValueError, match="images' has no labels: set data_prefix.lane_path"):
        dataset[0]
    dataset.skip_labels()
    sample = dataset[0]
    assert sample['inputs'].shape == (3, 32, 82)
    assert 'gt_lanes' not in sample['data_samples']
    with_labels = build(folders, pipeline=PIPELINE)[0]
    assert (sample['inputs'] == with_labels['inputs']).all()

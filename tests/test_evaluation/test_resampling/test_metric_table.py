"""On the set itself a table gives the value of the metric that it stands for."""

import copy
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric

from mmptq.evaluation.resampling import (
    PrecisionTable,
    RatioTable,
    Recomputed,
    load_table,
    resampled_metric,
    table_arrays,
)
from mmptq.evaluation.resampling.recomputed import quiet
from mmptq.lanes.evaluation import CULaneMetric, TuSimpleMetric

CLASSES = ('box', 'disc', 'none')


@pytest.fixture
def coco(tmp_path) -> tuple[CocoMetric, dict]:
    """A metric after random results on twelve images, and its values."""
    random = np.random.default_rng(0)
    images, annotations, results = [], [], []
    for image in range(12):
        images.append(dict(id=image + 1, width=640, height=480, file_name=''))
        places = random.uniform(0, 300, (6, 2))
        boxes = np.concatenate([places, places + random.choice([20, 60, 150], (6, 1))], 1)
        labels = random.integers(0, 2, 6)
        for box, label in zip(boxes, labels, strict=True):
            sizes = (box[2:] - box[:2]).tolist()
            number = len(annotations) + 1
            annotations.append(
                dict(id=number, image_id=image + 1, category_id=int(label) + 3, iscrowd=0)
                | dict(bbox=[*box[:2].tolist(), *sizes], area=sizes[0] * sizes[1])
            )
        annotations[-1]['iscrowd'] = image % 2
        found = np.concatenate([boxes + random.normal(0, 4, boxes.shape), boxes + 70])
        pred = dict(
            bboxes=torch.tensor(found),
            labels=torch.tensor(np.concatenate([labels, labels])),
            scores=torch.tensor(random.random(12)),
        )
        results.append(dict(img_id=image + 1, ori_shape=(480, 640), pred_instances=pred))
    names = [dict(id=index + 3, name=name) for index, name in enumerate(CLASSES)]
    content = dict(images=images, annotations=annotations, categories=names)
    (tmp_path / 'truth.json').write_text(json.dumps(content))
    with quiet():
        metric = CocoMetric(ann_file=str(tmp_path / 'truth.json'), classwise=True)
        metric.dataset_meta = dict(classes=CLASSES)
        metric.process({}, results)
        return metric, metric.compute_metrics(metric.results)


def test_coco(coco):
    metric, stock = coco
    table, method = resampled_metric(metric, metric.results, 'bbox_mAP')
    assert isinstance(table, PrecisionTable) and 'COCOeval' in method
    values = table.values(np.ones((1, 12)))
    for name in (
        'bbox_mAP',
        'bbox_mAP_50',
        'bbox_mAP_75',
        'bbox_mAP_s',
        'bbox_mAP_m',
        'bbox_mAP_l',
    ):
        assert values[name][0] == pytest.approx(stock[name], abs=0.0006), name
    for name in ('box', 'disc'):
        assert values[f'class/{name}'][0] == pytest.approx(stock[f'{name}_precision'], abs=0.0006)
    assert np.isnan(values['class/none'][0]) and 0.1 < stock['bbox_mAP'] < 0.9
    with pytest.raises(ValueError, match='no average precision of boxes'):
        resampled_metric(metric, metric.results, 'AR@100')


def test_a_metric_of_its_own_code_is_computed_by_it(coco):
    class Halved(CULaneMetric):
        def compute_metrics(self, results):
            return dict(F1=super().compute_metrics(results)['F1'] / 2)

    results = [(np.array([4, 4, *[3] * 10]), ()), (np.array([2, 4, *[1] * 10]), ())]
    table, _ = resampled_metric(Halved(), results, 'F1')
    assert isinstance(table, Recomputed)
    assert table.values(np.ones((1, 2)))['F1'][0] == pytest.approx(8 / 14 / 2)


def test_lanes():
    results = [(np.array([4, 4, *[3] * 6, *[1] * 4]), ()), (np.array([2, 4, *[1] * 10]), ())]
    table, _ = resampled_metric(CULaneMetric(), results, 'F1')
    stock = CULaneMetric().compute_metrics(results)
    values = table.values(np.array([[1.0, 1.0], [2.0, 0.0]]))
    for name in ('F1', 'precision', 'recall', 'F1_75', 'mF1'):
        assert values[name][0] == pytest.approx(stock[name])
    assert values['F1'][1] == pytest.approx(6 / 8)
    results = [(0.9, 0.1, 0.0), (0.7, 0.3, 0.5)]
    table, _ = resampled_metric(TuSimpleMetric(), results, 'accuracy')
    assert isinstance(table, RatioTable)
    values = table.values(np.array([[1.0, 1.0], [0.0, 2.0]]))
    assert values['accuracy'] == pytest.approx([0.8, 0.7]) and values['FN'][0] == 0.25


def test_rotated_boxes():
    pytest.importorskip('mmdet3d')
    from mmptq.evaluation import RotatedIoU3DMetric

    metric = RotatedIoU3DMetric(dict(car=[0.5, 0.7], bus=0.5))
    metric.dataset_meta = dict(classes=['car', 'bus'])
    random = np.random.default_rng(0)
    results = [
        dict(
            scores=random.random(9),
            labels=random.integers(0, 2, 9),
            outside=random.random(9) < 0.1,
            ious=random.random((9, 5)),
            gt_labels=random.integers(0, 2, 5),
            gt_ignored=random.random(5) < 0.2,
        )
        for _ in range(8)
    ]
    stock = metric.compute_metrics(results)
    table, _ = resampled_metric(metric, results, 'mAP')
    values = table.values(np.ones((1, 8)))
    assert values['mAP'][0] == pytest.approx(stock['mAP'], abs=1e-6)
    assert values['class/car'][0] == pytest.approx(stock['AP_car'], abs=1e-6)


def nuscenes_boxes(random, tokens):
    """True and found boxes of three classes, with all errors that the score counts."""
    detection = pytest.importorskip('nuscenes.eval.detection.data_classes')
    from nuscenes.eval.common.data_classes import EvalBoxes

    truth, found = EvalBoxes(), EvalBoxes()
    for token in tokens:
        for boxes, score in ((truth, -1.0), (found, None)):
            names = random.choice(['car', 'barrier', 'traffic_cone'], 40)
            own = []
            for name in names:
                angle = random.uniform(-1, 1)
                own.append(
                    detection.DetectionBox(
                        token,
                        tuple(random.uniform(0, 25, 3)),
                        size=tuple(random.uniform(1, 3, 3)),
                        rotation=(np.cos(angle), 0, 0, np.sin(angle)),
                        velocity=(np.nan, 1) if random.random() < 0.1 else (1, random.random()),
                        detection_name=str(name),
                        detection_score=float(random.random()) if score is None else score,
                        attribute_name=str(random.choice(['', 'vehicle.moving', 'vehicle.parked'])),
                    )
                )
            boxes.add_boxes(token, own)
    return truth, found


def evaluated(truth, found):
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.detection.evaluate import DetectionEval

    evaluation = DetectionEval.__new__(DetectionEval)
    evaluation.cfg = config_factory('detection_cvpr_2019')
    evaluation.gt_boxes, evaluation.pred_boxes, evaluation.verbose = truth, found, False
    return evaluation


def test_nuscenes():
    truth, found = nuscenes_boxes(np.random.default_rng(0), ('b', 'a', 'c'))
    evaluation = evaluated(truth, found)
    stock, _ = evaluation.evaluate()
    metric = type('NuScenesMetric', (SimpleNamespace,), {})()
    table, _ = resampled_metric(metric, [], 'x/mAP', [evaluation])
    values = table.values(np.ones((1, 3)))
    assert values['x/mAP'][0] == pytest.approx(stock.mean_ap, abs=1e-6) and stock.mean_ap > 0.01
    assert values['class/car'][0] == pytest.approx(stock.mean_dist_aps['car'], abs=1e-6)
    assert values['x/NDS'][0] == pytest.approx(stock.nd_score, abs=1e-6)
    assert min(stock.tp_errors.values()) < 1
    loaded = load_table(table_arrays(table))
    assert loaded.values(np.ones((1, 3)))['x/NDS'][0] == values['x/NDS'][0]
    # A sample that is drawn twice counts twice.
    for boxes in (truth, found):
        boxes.add_boxes('d', [replaced(box, 'd') for box in boxes['b']])
    stock, _ = evaluated(truth, found).evaluate()
    # Precision between its two copies differs a little.
    again = table.values(np.array([[1.0, 2.0, 1.0]]))
    assert again['x/mAP'][0] == pytest.approx(stock.mean_ap, abs=5e-4)
    assert again['x/NDS'][0] == pytest.approx(stock.nd_score, abs=5e-4)
    with pytest.raises(ValueError, match='not a mean of average precisions'):
        resampled_metric(metric, [], 'x/NDS', [evaluation])


def replaced(box, token):
    """A box in another sample."""
    box = copy.copy(box)
    box.sample_token = token
    return box

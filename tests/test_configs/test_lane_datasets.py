"""The data set configs of CULane, TuSimple and the demo lanes run on files of their layout."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmdet.registry import DATASETS, METRICS
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope

from mmptq.lanes.geometry import lanes_to_original

FOLDER = Path(__file__).resolve().parents[2] / 'configs/_base_/datasets'
LANES = ['700 590 720 500 740 400 750 300', '-30 590 200 480 420 380 560 300']


@pytest.fixture(autouse=True)
def scope():
    DefaultScope.get_instance('lanes', scope_name='mmdet')


def load(name, root, monkeypatch) -> Config:
    monkeypatch.setenv('MMPTQ_DATA', str(root))
    return Config.fromfile(FOLDER / f'{name}.py')


def scores_of_its_own_lanes(cfg) -> dict:
    """Scores of the test set when the true lanes, mapped back from the input, are predicted."""
    evaluator = Evaluator(METRICS.build(cfg.test_evaluator))
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    for index in range(len(dataset)):
        sample = dataset[index]['data_samples']
        sample.pred_lanes = lanes_to_original(sample.gt_lanes, sample.metainfo)
        evaluator.process([sample])
    return evaluator.evaluate(len(dataset))


def test_culane(tmp_path, monkeypatch):
    cfg = load('culane', tmp_path, monkeypatch)
    root = tmp_path / 'culane'
    (root / 'list/test_split').mkdir(parents=True)
    (root / 'drive').mkdir()
    paths = cfg.test_dataloader.dataset.category_lists.values()
    for index, path in enumerate(paths):
        cv2.imwrite(str(root / f'drive/{index}.jpg'), np.zeros((590, 1640, 3), dtype=np.uint8))
        lanes = [] if 'cross' in path else LANES
        (root / f'drive/{index}.lines.txt').write_text('\n'.join(lanes))
        (root / path).write_text(f'drive/{index}.jpg\n')
    names = [f'/drive/{index}.jpg' for index in range(len(paths))]
    (root / 'list/test.txt').write_text('\n'.join(names))
    (root / 'list/train_gt.txt').write_text(
        '\n'.join(f'{name} /laneseg_label_w16/x.png 0 1 1 0' for name in names)
    )
    scores = scores_of_its_own_lanes(cfg)
    assert scores['culane/F1'] == 1 and scores['culane/TP'] == 16
    assert scores['culane/FP_cross'] == 0 and scores['culane/F1_night'] == 1

    train = DATASETS.build(cfg.train_dataloader.dataset)
    np.random.seed(0)
    for item in (train[0], train[7]):
        assert item['inputs'].shape == (3, 288, 800)
        assert len(item['data_samples'].gt_lanes) == len(item['data_samples'].gt_lane_slots)


def test_demo_lanes(tiny_lanes, tmp_path, monkeypatch):
    cfg = load('demo_lane', tmp_path, monkeypatch)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(tiny_lanes)
    assert cfg.val_dataloader.dataset == cfg.test_dataloader.dataset
    scores = scores_of_its_own_lanes(cfg)
    assert scores['culane/F1'] == 1 and scores['culane/FP_cross'] == 0
    assert {f'culane/F1_{name}' for name in cfg.category_lists if name != 'cross'} < set(scores)
    train = DATASETS.build(cfg.train_dataloader.dataset)
    np.random.seed(0)
    assert train[1]['inputs'].shape == (3, 128, 320)
    assert len(train[1]['data_samples'].gt_lanes) >= 2


def test_tusimple_on_real_frames(real_data, tmp_path, monkeypatch):
    cfg = load('tusimple', tmp_path, monkeypatch)
    root, frames = tmp_path / 'tusimple', real_data / 'tusimple'
    root.mkdir()
    rows = json.loads((frames / 'lstr_reference_outputs.json').read_text())['h_samples']
    for split, name in (('train', 'label_data_0313'), ('train', 'label_data_0601'), ('test', '')):
        lines = []
        for index in range(3):
            lanes = []
            for line in (frames / f'{split}_labels/{index}.txt').read_text().splitlines():
                values = [float(word) for word in line.split()]
                x_at = dict(zip(values[1::2], values[::2], strict=True))
                lanes.append([x_at.get(row, -2) for row in rows])
            image = str(frames / f'{split}_images/{index}.jpg')
            lines.append(json.dumps(dict(raw_file=image, h_samples=rows, lanes=lanes)))
        (root / f'{name or "test_label"}.json').write_text('\n'.join(lines))
    scores = scores_of_its_own_lanes(cfg)
    assert scores == {'tusimple/accuracy': 1, 'tusimple/FP': 0, 'tusimple/FN': 0}

    train = DATASETS.build(cfg.train_dataloader.dataset)
    np.random.seed(0)
    item = train[4]
    assert len(train) == 6 and item['inputs'].shape == (3, 360, 640)
    assert len(item['data_samples'].gt_lanes) >= 2

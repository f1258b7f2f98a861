"""Every run on a lane detector says how far it moved the lanes of its calibration images."""

import copy
import json

import cv2
import pytest
import torch
from lane_models import build_lane_model, lane_batch

from mmptq.lanes.geometry import LaneDistortion
from mmptq.ptq import PTQContext
from mmptq.report import lane_report, read_record


class Batches(list):
    """Calibration batches that are read as often as the run wants."""

    def __iter__(self):
        return map(copy.deepcopy, super().__iter__())


@pytest.fixture
def ctx(tmp_path, tiny_lanes):
    model = build_lane_model('bezier')
    batch = lane_batch(model, tiny_lanes, 2)
    halves = [
        dict(inputs=batch['inputs'][i : i + 1], data_samples=batch['data_samples'][i : i + 1])
        for i in range(2)
    ]
    ctx = PTQContext(model, Batches(halves), tmp_path, 0)
    ctx._prepare = lambda data: data
    return ctx


def move_lanes(model):
    """All control points to the right, by a tenth of the image."""
    layer = model.lane_head.regress
    with torch.no_grad():
        layer.bias.view(-1, 2)[:, 0] += 0.1


def test_distortion_is_recorded_and_the_worst_image_drawn(ctx, tmp_path, caplog):
    before = [sample for data in ctx.loader for sample in ctx.predict(data)]
    with lane_report(ctx):
        move_lanes(ctx.model)
    after = [sample for data in ctx.loader for sample in ctx.predict(data)]
    expected = LaneDistortion()(before, after)
    assert max(expected) > 1, 'lanes that do not move show nothing'
    found = read_record(tmp_path, 'lane_distortion')
    assert [row['distortion'] for row in found['images']] == pytest.approx(expected, rel=1e-4)
    assert found['mean'] == pytest.approx(sum(expected) / 2, rel=1e-4)
    assert found['worst'] == before[expected.index(max(expected))].img_path
    assert [row['float_lanes'] for row in found['images']] == [len(s.pred_lanes) for s in before]
    picture, image = cv2.imread(str(tmp_path / 'worst_lanes.png')), cv2.imread(found['worst'])
    assert picture.shape[1] > 2 * image.shape[1]
    json.dumps(found)


def test_no_random_stream_goes_on(ctx):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    with lane_report(ctx):
        pass
    assert torch.equal(torch.rand(3), expected)


def test_fewer_images_and_none(ctx, tmp_path):
    with lane_report(ctx, num_images=0):
        pass
    assert not (tmp_path / 'run.json').exists()
    with lane_report(ctx, num_images=1):
        pass
    (row,) = read_record(tmp_path, 'lane_distortion')['images']
    assert row['distortion'] == 0


def test_other_detectors_are_left_alone(tmp_path):
    ctx = PTQContext(torch.nn.Linear(1, 1), [None], tmp_path, 0)
    with lane_report(ctx):
        pass
    assert not list(tmp_path.iterdir())


def test_weights_of_heads_are_drawn(tmp_path):
    ctx = PTQContext(torch.nn.Linear(1, 1), [None], tmp_path, 0)
    with lane_report(ctx):
        rows = [dict(step=0, score=1.0, x=0.0), dict(step=50, score=0.5, x=0.5)]
        ctx.record('head_weights', rows)
    assert cv2.imread(str(tmp_path / 'head_weights.png')).shape == (400, 720, 3)

"""CondLaneNet's adapter: the lanes of the float model in both models."""

import copy

import pytest
import torch
from helpers import QUANTIZER
from lane_models import build_lane_model, lane_batch, quantize_lane_model

from mmptq.adapters import build_adapter
from mmptq.lanes.models.heads.keypoint.conditional_maps import mean_column


@pytest.fixture(scope='module')
def model():
    return build_lane_model('condlane')


@pytest.fixture
def data(model, tiny_lanes):
    return lane_batch(model, tiny_lanes)


@pytest.fixture
def raw(model, data):
    with torch.no_grad():
        return build_adapter(model).raw_outputs(data)


def test_seeds_are_local_maxima_and_then_the_least_cells(model, raw):
    heat, kept = model.lane_head.find_seeds(raw['heatmap'], 0.0)
    for image in range(2):
        x, y = raw['seeds'][image].T
        number = int(kept[image].sum())
        assert 0 < number < len(x) == 8  # all cells of the tiny heatmap
        assert kept[image, y[:number], x[:number]].all()
        assert not kept[image, y[number:], x[number:]].any()
        scores = heat[image, y, x]
        assert scores[:number].diff().le(0).all() and scores[number:].diff().ge(0).all()


def test_maps_are_those_of_the_seeds(model, raw):
    image, seed = torch.tensor([1]), 3
    maps = model.lane_head.instance_maps(raw, image, raw['seeds'][1, seed][None])
    for name, value in maps.items():
        torch.testing.assert_close(raw[name][1, seed], value[0])


@torch.no_grad()
def test_a_quantized_model_gets_the_cells_of_the_float_one(model, data, raw):
    changed = copy.deepcopy(model)
    changed.lane_head.heatmap[2].weight *= -1  # other maxima
    quantize_lane_model('condlane', changed, data, QUANTIZER)
    own = copy.deepcopy(data)
    for sample in own['data_samples']:
        del sample.lane_seeds
    adapter = build_adapter(changed)
    assert torch.equal(adapter.raw_outputs(data)['seeds'], raw['seeds'])
    assert not torch.equal(adapter.raw_outputs(own)['seeds'], raw['seeds'])
    assert torch.equal(adapter.raw_outputs(own)['seeds'], adapter.raw_outputs(own)['seeds'])
    assert not torch.equal(adapter.raw_outputs(data)['location'], raw['location'])


def test_focus_of_the_maps(model, raw):
    masks = build_adapter(model).focus(raw)
    for image, seed, row in ((0, 0, 1), (1, 5, 3)):
        x, y = raw['seeds'][image, seed]
        score = raw['heatmap'][image, 0, y, x].sigmoid()
        present = raw['range'][image, seed, row].softmax(0)[1]
        column = raw['location'][image, seed, row].softmax(0)
        location = masks['location'][image, seed, row]
        torch.testing.assert_close(location, (score * present)[None])
        torch.testing.assert_close(masks['offset'][image, seed, row], score * present * column)
        torch.testing.assert_close(masks['range'][image, seed, row], score[None])


def test_outputs_are_starts_and_rows_of_lanes(model, raw):
    starts, rows = build_adapter(model).outputs(raw)
    assert starts.name == 'lane_head.heatmap' and not starts.regs
    assert rows.name == 'lane_head.rows' and rows.scores.shape == (2, 8 * 4, 1)
    x, y = raw['seeds'][1, 2]
    score = raw['heatmap'][1, 0, y, x].sigmoid() * raw['range'][1, 2, 3].softmax(0)[1]
    torch.testing.assert_close(rows.probabilities()[1, 2 * 4 + 3, 0], score)
    shares = raw['location'][1, 2, 3].softmax(0)
    column, offset = mean_column(raw['location'][1, 2, 3]), (shares * raw['offset'][1, 2, 3]).sum()
    torch.testing.assert_close(rows.regs['location'][1, 2 * 4 + 3], column[None])
    torch.testing.assert_close(rows.regs['offset'][1, 2 * 4 + 3], offset[None])


def test_gradients_of_the_maps_reach_the_layers(model, data):
    model = copy.deepcopy(model)
    adapter = build_adapter(model)
    sum(part.sum() for part in adapter.parts(adapter.raw_outputs(data)).values()).backward()
    for name in ('heatmap.2', 'kernels.2', 'feature_convs.0.conv'):
        assert model.lane_head.get_submodule(name).weight.grad.abs().sum() > 0

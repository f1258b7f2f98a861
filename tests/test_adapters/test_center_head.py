"""CenterPoint's adapter: what a known box in the raw outputs becomes, and what it costs."""

import math

import pytest
import torch

pytest.importorskip('mmdet3d')

from adapter_checks import check_decode, check_parts  # noqa: E402
from lidar_models import random_scan, scan_batch, tiny_center_point  # noqa: E402

from mmptq.adapters import build_adapter  # noqa: E402
from mmptq.adapters.center_head import CenterHeadAdapter  # noqa: E402

# x, y, z of the centre, three sizes, heading, two velocities; in the cell (column 5, row 2).
BOX = torch.tensor([3.5, -3.1, 0.5, 4.0, 2.0, 1.5, 0.7, 1.0, -2.0])
COLUMN, ROW = 5, 2


@pytest.fixture(scope='module')
def model():
    return tiny_center_point()


@pytest.fixture(scope='module')
def data(model):
    return scan_batch(model, random_scan())


def raw_with_box(num_classes, label, logit=4.0, velocity=True):
    """Raw output of one task (8 x 8 cells of 2 m) with one box and nothing else."""
    branches = dict(
        reg=torch.zeros(1, 2, 8, 8),
        height=torch.zeros(1, 1, 8, 8),
        dim=torch.zeros(1, 3, 8, 8),
        rot=torch.zeros(1, 2, 8, 8),
        vel=torch.zeros(1, 2, 8, 8),
        heatmap=torch.full((1, num_classes, 8, 8), -5.0),
    )
    cell = (BOX[:2] + 8) / 2
    values = dict(
        reg=cell - torch.tensor([COLUMN, ROW]),
        height=BOX[2:3],
        dim=BOX[3:6].log(),
        rot=torch.tensor([math.sin(0.7), math.cos(0.7)]),
        vel=BOX[7:],
    )
    for name, value in values.items():
        branches[name][0, :, ROW, COLUMN] = value
    branches['heatmap'][0, label, ROW, COLUMN] = logit
    if not velocity:
        del branches['vel']
    return [branches]


def test_raw_outputs_stop_before_decoding(model, data, monkeypatch):
    monkeypatch.setattr(type(model.pts_bbox_head), 'predict_by_feat', None)
    adapter = build_adapter(model)
    assert isinstance(adapter, CenterHeadAdapter)
    raw = adapter.raw_outputs(data)
    outputs = adapter.outputs(raw)
    assert [o.name for o in outputs] == ['pts_bbox_head.task0', 'pts_bbox_head.task1']
    assert [tuple(o.scores.shape) for o in outputs] == [(1, 64, 1), (1, 64, 2)]
    assert set(outputs[0].regs) == {'reg', 'height', 'dim', 'rot', 'vel'}
    position = ROW * 8 + COLUMN
    for output, (branches,) in zip(outputs, raw, strict=True):
        assert torch.equal(output.scores[0, position], branches['heatmap'][0, :, ROW, COLUMN])
        assert torch.equal(output.regs['dim'][0, position], branches['dim'][0, :, ROW, COLUMN])
    outputs[1].scores.sum().backward()  # gradients reach the first layer
    gradient = model.pts_backbone.blocks[0][0].weight.grad
    assert gradient.abs().sum() > 0


def test_pseudo_label_is_the_box(model, data):
    raw = (raw_with_box(1, 0, logit=-5.0), raw_with_box(2, 1))
    (label,) = build_adapter(model).pseudo_labels(raw, data, 0.1, 500)
    instances = label.gt_instances_3d
    assert label.metainfo['lidar_path'] == 'made-up.bin'
    assert instances.labels_3d.tolist() == [2]  # the second class of the second task
    boxes = instances.bboxes_3d
    torch.testing.assert_close(boxes.gravity_center[0], BOX[:3], atol=1e-5, rtol=0)
    torch.testing.assert_close(boxes.tensor[0, 3:], BOX[3:], atol=1e-5, rtol=0)


def test_own_detections_cost_no_regression_and_a_wrong_size_does(model, data):
    adapter = build_adapter(model)
    raw = (raw_with_box(1, 0, logit=-5.0), raw_with_box(2, 1))
    labels = adapter.pseudo_labels(raw, data, 0.1, 500)
    losses = adapter.loss(raw, data, labels)
    assert set(losses) == {f'task{i}.loss_{kind}' for i in (0, 1) for kind in ('heatmap', 'bbox')}
    assert float(losses['task1.loss_bbox']) < 1e-6
    # 1 / num_pos * -(1 - p)^2 log p at the centre; the far cells add next to nothing.
    p = torch.sigmoid(torch.tensor(4.0))
    expected = float(-((1 - p) ** 2) * p.log())
    assert float(losses['task1.loss_heatmap']) == pytest.approx(expected, abs=1e-4)

    raw[1][0]['dim'][0, :, ROW, COLUMN] += 0.1
    raw[1][0]['dim'][0, :, 0, 0] += 5.0  # no box there: does not count
    before = raw[1][0]['heatmap'].clone()
    # L1 over three sizes with weight 0.25; the mean over ten values is mmdet's avg_factor's part.
    worse = float(adapter.loss(raw, data, labels)['task1.loss_bbox'])
    assert worse == pytest.approx(0.25 * 0.3, rel=1e-3)
    assert torch.equal(raw[1][0]['heatmap'], before)
    assert 'anno_box' not in raw[1][0]


def test_targets_are_assigned_once_per_sample(model, data, monkeypatch):
    adapter = build_adapter(model)
    raw = (raw_with_box(1, 0), raw_with_box(2, 1))
    labels = adapter.pseudo_labels(raw, data, 0.1, 500)
    calls, assign = [], type(model.pts_bbox_head).get_targets_single

    def counted(head, instances):
        calls.append(len(instances))
        return assign(head, instances)

    monkeypatch.setattr(type(model.pts_bbox_head), 'get_targets_single', counted)
    first, second = adapter.loss(raw, data, labels), adapter.loss(raw, data, labels)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert calls == [2]
    adapter.loss(raw, data, adapter.pseudo_labels(raw, data, 0.1, 1))
    assert len(calls) == 2
    assert 'assigned_targets' in labels[0]  # they live as long as the pseudo labels
    assert not any(isinstance(value, dict) for value in vars(adapter).values())
    assert 'get_targets_single' not in vars(model.pts_bbox_head)


def test_gradient_of_the_regression_is_at_the_positive_only(model, data):
    adapter = build_adapter(model)
    raw = (raw_with_box(1, 0, logit=-5.0), raw_with_box(2, 1))
    labels = adapter.pseudo_labels(raw, data, 0.1, 500)
    raw[1][0]['dim'] = (raw[1][0]['dim'] + 0.1).requires_grad_()
    raw[1][0]['heatmap'].requires_grad_()
    sum(adapter.loss(raw, data, labels).values()).backward()
    touched = raw[1][0]['dim'].grad.abs().sum(1)[0].nonzero().tolist()
    assert touched == [[ROW, COLUMN]]
    assert (raw[1][0]['heatmap'].grad != 0).all()


def test_score_and_rank_hold_per_task(model, data):
    strong = raw_with_box(1, 0, logit=4.0)
    strong[0]['heatmap'][0, 0, 7, 1] = 3.0
    weak = raw_with_box(2, 0, logit=-1.0)
    adapter = build_adapter(model)
    (label,) = adapter.pseudo_labels((strong, weak), data, 0.1, 1)
    assert sorted(label.gt_instances_3d.labels_3d.tolist()) == [0, 1]
    (label,) = adapter.pseudo_labels((strong, weak), data, 0.5, 500)
    assert label.gt_instances_3d.labels_3d.tolist() == [0, 0]


def test_boxes_of_infinite_size_are_no_target(model, data):
    raw = (raw_with_box(1, 0), raw_with_box(2, 0))
    raw[1][0]['dim'][:] = 200.0
    (label,) = build_adapter(model).pseudo_labels(raw, data, 0.1, 500)
    assert label.gt_instances_3d.labels_3d.tolist() == [0]


def test_head_without_velocity():
    model = tiny_center_point(velocity=False)
    adapter = build_adapter(model)
    data = scan_batch(model, random_scan())
    assert 'vel' not in adapter.outputs(adapter.raw_outputs(data))[0].regs
    raw = (raw_with_box(1, 0, velocity=False), raw_with_box(2, 1, velocity=False))
    labels = adapter.pseudo_labels(raw, data, 0.1, 500)
    assert labels[0].gt_instances_3d.bboxes_3d.tensor.shape == (2, 7)
    losses = adapter.loss(raw, data, labels)
    assert float(losses['task0.loss_bbox']) < 1e-6


def test_parts(model, data):
    adapter = build_adapter(model)
    raw = adapter.raw_outputs(data)
    check_parts(adapter, raw)
    parts = adapter.parts(raw)
    assert parts['task1.heatmap'] is raw[1][0]['heatmap']
    assert list(adapter.head_groups(raw)) == list(parts)


def test_decode_is_prediction(model, data):
    adapter = build_adapter(model)
    with torch.no_grad():
        raw = adapter.raw_outputs(data)
    check_decode(model, adapter, raw, data, head='task0.dim')

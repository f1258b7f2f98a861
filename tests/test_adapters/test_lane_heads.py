"""Adapters of lane heads, against what the heads themselves compute."""

import pytest
import torch
from adapter_checks import assert_same, check_decode, check_focus, check_parts
from lane_models import HEADS, build_lane_model, lane_batch

from mmptq.adapters import LaneHeadAdapter, build_adapter
from mmptq.lanes.geometry import LaneDistortion
from mmptq.quantization import QuantizationError

# Raw outputs that are those of cells that the float model chose.
CHOSEN = dict(condlane={'seeds', 'location', 'offset', 'range'})


@pytest.fixture(scope='module', params=HEADS)
def detector(request, tiny_lanes, device):
    model = build_lane_model(request.param).to(device)
    return request.param, model, lane_batch(model, tiny_lanes)


@pytest.fixture
def adapter(detector):
    return build_adapter(detector[1])


@pytest.fixture
def raw(detector, adapter):
    with torch.no_grad():
        return adapter.raw_outputs(detector[2])


def test_raw_outputs_are_those_of_the_head(detector, adapter, raw, monkeypatch):
    family, model, data = detector
    with torch.no_grad():
        expected = model.lane_head(model.extract_feat(data['inputs']))
    assert raw.keys() - expected.keys() == CHOSEN.get(family, set())
    for name, value in expected.items():
        torch.testing.assert_close(raw[name], value, rtol=0, atol=0)

    def fail(*args, **kwargs):
        raise AssertionError('decoded')

    monkeypatch.setattr(type(model.lane_head), 'decode', fail)
    adapter.raw_outputs(data)


def test_watched_modules_keep_their_outputs(detector, adapter, raw):
    _, model, data = detector
    adapter.watched = ('backbone',)
    with torch.no_grad():
        again = adapter.raw_outputs(data)
        expected = model.backbone(data['inputs'])
    assert_same(again, raw)
    assert_same(adapter.features, dict(backbone=expected))
    adapter.watched = ()
    with torch.no_grad():
        adapter.raw_outputs(data)
    assert adapter.features == {} and not model.backbone._forward_hooks


def test_outputs_hold_all_raw_numbers_with_the_background_last(detector, adapter, raw):
    family, _, _ = detector
    outputs = adapter.outputs(raw)
    assert [out.name.split('.')[0] for out in outputs] == ['lane_head'] * len(outputs)
    if family not in CHOSEN:
        sums = sum(x.sum() for out in outputs for x in (out.scores, *out.regs.values()))
        assert float(sums) == pytest.approx(float(sum(x.sum() for x in raw.values())), rel=1e-4)
    for out in outputs:
        assert out.scores.dim() == 3 and len(out.scores) == 2
        assert all(reg.shape[:2] == out.scores.shape[:2] for reg in out.regs.values())
    if family == 'segmentation':
        shares = raw['seg'].softmax(dim=1)[:, 1:].flatten(2).transpose(1, 2)
        torch.testing.assert_close(outputs[0].probabilities(), shares)
        torch.testing.assert_close(outputs[1].probabilities()[..., 0], raw['exist'].sigmoid())
    elif 'logits' in raw and outputs[0].softmax:
        shares = raw['logits'].softmax(dim=2)[..., 1:]
        torch.testing.assert_close(outputs[0].probabilities(), shares)
    else:
        logits = raw['heatmap' if 'heatmap' in raw else 'logits'].reshape(2, -1)
        torch.testing.assert_close(outputs[0].scores[..., 0], logits)


def test_pseudo_labels_are_the_decoded_lanes(detector, adapter, raw):
    _, model, data = detector
    samples = data['data_samples']
    expected = model.lane_head.decode(raw, samples)
    assert any(len(lanes) for lanes in expected), 'a model without lanes shows nothing'
    labels = adapter.pseudo_labels(raw, data, score_thr=0.0, top_k=50)
    for label, lanes, sample in zip(labels, expected, samples, strict=True):
        lanes = [lane for lane in lanes if len(lane) > 1]
        assert label.img_path == sample.img_path
        assert len(label.gt_lanes) == len(label.gt_lane_slots) == len(lanes)
        for got, want in zip(label.gt_lanes, lanes, strict=True):
            torch.testing.assert_close(got, want.float().cpu())


def test_thresholds_of_pseudo_labels(detector, adapter, raw):
    _, model, data = detector
    decoded = model.lane_head.decode(raw, data['data_samples'])
    none = adapter.pseudo_labels(raw, data, score_thr=1.0, top_k=50)
    assert not any(label.gt_lanes for label in none)
    one = adapter.pseudo_labels(raw, data, score_thr=0.0, top_k=1)
    assert all(len(label.gt_lanes) <= 1 for label in one)
    again = model.lane_head.decode(raw, data['data_samples'])
    assert [len(lanes) for lanes in again] == [len(lanes) for lanes in decoded]


def test_loss_is_the_heads_own_and_gradients_flow(detector, adapter, raw):
    _, model, data = detector
    labels = adapter.pseudo_labels(raw, data, score_thr=0.0, top_k=4)
    free = {n: x.clone().requires_grad_(x.is_floating_point()) for n, x in raw.items()}
    losses = adapter.loss(free, data, labels)
    expected = model.lane_head.loss_by_output(raw, labels)
    assert losses.keys() == expected.keys()
    for name, value in losses.items():
        torch.testing.assert_close(value, expected[name])
    sum(losses.values()).backward()
    assert all(torch.equal(free[name], value) for name, value in raw.items())
    assert any(value.grad is not None and value.grad.abs().sum() > 0 for value in free.values())


def test_images_without_pseudo_lanes_have_a_loss(adapter, raw, detector):
    labels = adapter.pseudo_labels(raw, detector[2], score_thr=1.0, top_k=4)
    losses = adapter.loss(raw, detector[2], labels)
    assert all(torch.isfinite(value) for value in losses.values())


def test_a_lane_head_of_another_kind_has_no_adapter():
    model = torch.nn.Module()
    model.lane_head = torch.nn.Linear(1, 1)
    with pytest.raises(QuantizationError, match='no adapter for Module with Linear'):
        build_adapter(model)


def test_parts(detector, adapter, raw):
    check_parts(adapter, raw)
    heads = dict(
        lstr=['logits', 'ends', 'shared', 'own'],
        laneatt=['logits', 'length', 'offset'],
        clr=['logits', 'start', 'angle', 'length', 'offsets'],
        bezier=['logits', 'control_points'],
        ganet=['heatmap', 'offset', 'compensation'],
        condlane=['heatmap', 'location', 'offset', 'range'],
        segmentation=['seg', 'exist'],
    )
    assert list(adapter.head_groups(raw)) == heads[detector[0]]


def test_focus(adapter, raw):
    check_focus(adapter, raw)


def test_focus_is_the_confidence_of_what_a_part_describes(detector, adapter, raw):
    family, model, _ = detector
    masks = adapter.focus(raw)
    if family == 'segmentation':
        background = raw['seg'].softmax(1)[:, 0]
        torch.testing.assert_close(masks['seg'][:, 0], 1 - background)
        assert (masks['exist'] == 1).all()
        return
    scores = adapter.outputs(raw)[0].probabilities()[..., 0].flatten()
    if family == 'condlane':  # its maps: test_lane_conditional_head.py
        torch.testing.assert_close(masks['heatmap'].flatten(), scores)
        return
    limited = dict(laneatt='offset', clr='offsets').get(family)
    for name in masks.keys() - {limited}:
        torch.testing.assert_close(masks[name].flatten(), scores)
    if limited is None:
        return
    # The tiny models' lanes are 8 rows long: above their ends the decoder reads no offset.
    head = model.lane_head
    if family == 'clr':
        lanes = head._lanes(raw['lines'][0], raw['offsets'][0]).rows
    else:
        lanes = head._proposals(raw['reg'][0])
    rows = torch.arange(12, device=scores.device)
    expected = masks['logits'][0] * (rows <= lanes.ends[:, None])
    torch.testing.assert_close(masks[limited][0], expected)
    assert 0 < (masks[limited] == 0).float().mean() < 1


def test_a_family_without_rules_of_selective_focus(detector):
    _, model, _ = detector

    class OtherAdapter(LaneHeadAdapter):
        def outputs(self, raw):
            return []

    adapter = OtherAdapter(model)
    head = type(model.lane_head).__name__
    message = f'OtherAdapter has no rules of Selective Focus for {head}: override focus and'
    with pytest.raises(QuantizationError, match=message):
        adapter.focus({})


def test_decode_is_prediction(detector, adapter, raw):
    family, model, data = detector
    heads = dict(
        lstr='ends',
        laneatt='offset',
        clr='offsets',
        bezier='control_points',
        ganet='compensation',
        condlane='location',
    )
    check_decode(model, adapter, raw, data, head=heads.get(family, 'seg'))


def test_distortion_by_each_head(detector, adapter, raw):
    """The sensitivity of Selective Focus needs no code of the family."""
    _, _, data = detector
    lanes, parts = adapter.decode(raw, data), adapter.parts(raw)
    scores = {}
    for head, names in adapter.head_groups(raw).items():
        torch.manual_seed(0)
        moved = {name: parts[name] + 0.3 * torch.randn_like(parts[name]) for name in names}
        changed = adapter.decode(adapter.with_parts(raw, moved), data)
        scores[head] = sum(LaneDistortion()(lanes, changed))
    assert LaneDistortion()(lanes, lanes) == [0, 0]
    assert max(scores.values()) > 0.1

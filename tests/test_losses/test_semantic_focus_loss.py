"""Focus and selection by hand, and refusals."""

import copy

import pytest
import torch
from focus_toys import LN3, ToyLaneAdapter, ToyTeacher, raw
from lane_models import HEADS, build_lane_model, lane_batch
from mmengine.registry import MODELS
from torch import nn

from mmptq.adapters import build_adapter
from mmptq.losses import SemanticFocusLoss
from mmptq.quantization import QuantizationError

FLOAT = raw([0.0, LN3], [10.0, 20.0])  # confidences 1/2 and 3/4; one lane, at 20
MOVED = raw([LN3, LN3], [11.0, 22.0])


def errors(loss, one=FLOAT, other=MOVED):
    adapter = ToyLaneAdapter()
    target = loss.make_target(adapter, one, {})
    return {name: part.item() for name, part in loss.eval()(adapter, other, {}, target).items()}


def test_focus_by_hand():
    found = errors(SemanticFocusLoss(selection=False))
    # Half of both heads; the score of the first query counts by its new confidence, 3/4.
    assert found['score'] == pytest.approx(0.5 * (0.75 * LN3**2) / 1.5, rel=1e-5)
    assert found['x'] == pytest.approx(0.5 * (0.5 * 1 + 0.75 * 4) / 1.25, rel=1e-5)


def test_without_focus_all_positions_count():
    found = errors(SemanticFocusLoss(focus=False, selection=False))
    assert found['score'] == pytest.approx(0.5 * LN3**2 / 2, rel=1e-5)
    assert found['x'] == pytest.approx(0.5 * (1 + 4) / 2, rel=1e-5)


def test_the_floor_is_for_confidences_alone():
    far = raw([-20.0, LN3], [10.0, 20.0])
    moved = raw([-18.0, LN3], [15.0, 20.0])
    found = errors(SemanticFocusLoss(selection=False, floor=0.25), far, moved)
    assert found['score'] == pytest.approx(0.5 * 0.25 * 4 / (0.25 + 0.75), rel=1e-4)
    assert found['x'] == pytest.approx(0, abs=1e-5)


def test_what_a_softmax_ignores_is_no_error():
    class TwoClasses(ToyLaneAdapter):
        confidence_parts = {'score': -1}  # noqa: RUF012

    adapter, loss = TwoClasses(), SemanticFocusLoss(focus=False, selection=False)
    target = loss.make_target(adapter, FLOAT, {})
    shifted = dict(FLOAT, score=FLOAT['score'] + 3)
    assert loss(adapter, shifted, {}, target)['score'].item() == pytest.approx(0, abs=1e-6)


def test_an_image_without_lanes_has_no_target():
    assert (
        SemanticFocusLoss().make_target(ToyLaneAdapter(), raw([-1.0, -1.0], [1.0, 2.0]), {}) is None
    )


def test_errors_are_relative_to_those_before_learning():
    loss = SemanticFocusLoss(selection=False)
    loss.prepare(ToyTeacher(loss, [(FLOAT, MOVED)]))
    assert loss.start.tolist() == pytest.approx([0.5 * LN3**2, 2.8], rel=1e-5)
    assert errors(loss) == pytest.approx(dict(score=0.5, x=0.5))
    assert loss.records() == dict(
        head_errors=[
            dict(head='score', error_before=pytest.approx(0.5 * LN3**2, rel=1e-5)),
            dict(head='x', error_before=pytest.approx(2.8, rel=1e-5)),
        ]
    )


def selected(interval=2):
    """A loss whose table says: the score loses a lane at once, x moves it by two pixels."""
    loss = SemanticFocusLoss(selection=dict(interval=interval, momentum=0.0, keep=0))
    loss.prepare(ToyTeacher(loss, [(FLOAT, raw([LN3, -LN3], [11.0, 22.0]))]))
    return loss


def test_errors_of_a_curve_count_where_it_runs():
    # The middle of a cubic curve is (c0 + 3 c1 + 3 c2 + c3) / 8: 8/3 and -8/3 cancel out there.
    model = build_lane_model('bezier')
    adapter = build_adapter(model)
    adapter.head.num_samples = 3
    moved = torch.tensor([[0.0, 0.0], [8 / 3, 0.0], [-8 / 3, 0.0], [0.0, 1.0]])[None, None]
    data = dict(inputs=torch.zeros(1, 3, 20, 40))
    points = adapter.compared(dict(logits=torch.ones(1, 1), control_points=moved), data)
    assert torch.equal(points['logits'], torch.ones(1, 1))
    expected = torch.tensor([[0.0, 0.0], [0.0, 0.0625], [0.0, 0.5]])  # y counts half as much
    torch.testing.assert_close(points['control_points'][0, 0], expected, atol=1e-6, rtol=0)


def test_selection_weighs_gradients_in_training_only():
    loss = selected()
    assert loss.selection.weights.tolist() == [1, 0]
    adapter = ToyLaneAdapter()
    target = loss.make_target(adapter, FLOAT, {})
    free = {name: x.clone().requires_grad_() for name, x in MOVED.items()}
    plain = loss.eval()(adapter, free, {}, target)
    sum(plain.values()).backward()
    expected = {name: x.grad.clone() for name, x in free.items()}
    for x in free.values():
        x.grad = None
    parts = loss.train()(adapter, free, {}, target)
    assert {k: v.item() for k, v in parts.items()} == pytest.approx(
        {k: v.item() for k, v in plain.items()}
    )
    sum(parts.values()).backward()
    # A weight of 1 in place of 1/2, and of 0.
    torch.testing.assert_close(free['score'].grad, 2 * expected['score'])
    assert not free['x'].grad.any() and expected['x'].any()


def test_the_selection_follows_the_errors_at_the_end_of_an_interval():
    loss = selected()
    small, large = torch.tensor(0.0), torch.tensor(0.5)
    loss.after_step(0, dict(score=small, x=large))
    assert loss.selection.weights.tolist() == [1, 0]
    loss.after_step(1, dict(score=small, x=large))
    assert loss.selection.weights.tolist() == [0, 1]
    assert loss.records()['head_weights'] == [
        dict(step=0, score=1.0, x=0.0),
        dict(step=2, score=0.0, x=1.0),
    ]
    other = selected()
    other.load_state_dict(copy.deepcopy(loss.state_dict()))
    assert other.selection.weights.tolist() == [0, 1]
    assert other.records() == loss.records()


def test_errors_of_features_by_hand():
    loss = SemanticFocusLoss(selection=False, features=2.0)
    adapter = ToyLaneAdapter()
    adapter.model.neck = nn.Identity()
    loss.check(adapter)
    assert adapter.watched == ('neck',)
    adapter.features = dict(neck=(torch.tensor([3.0, 4.0]), torch.tensor([1.0])))
    target = loss.make_target(adapter, FLOAT, {})
    adapter.features = dict(neck=(torch.tensor([3.0, 5.0]), torch.tensor([1.0])))
    found = loss.eval()(adapter, FLOAT, {}, target)
    # One part in 25 of the first and nothing of the second, with a weight of 2.
    assert {name: part.item() for name, part in found.items()} == pytest.approx(
        dict(score=0, x=0, features=2 * (1 / 25) / 2)
    )


def test_a_detector_without_lane_head_is_refused(tiny_detector):
    loss = MODELS.build(dict(type='SemanticFocusLoss'))
    message = r'is for lane detectors, and \w+ has a RetinaHead: use a lane model, or dict\(type='
    with pytest.raises(QuantizationError, match=message):
        loss.check(build_adapter(tiny_detector))


def test_a_head_without_confidence_is_refused():
    class Silent(ToyLaneAdapter):
        confidence_parts = {}  # noqa: RUF012

    message = 'needs a head with a confidence output, and Silent names none of ToyHead: set confid'
    with pytest.raises(QuantizationError, match=message):
        SemanticFocusLoss().check(Silent())


def test_a_family_without_rules_is_refused():
    class Unruly(ToyLaneAdapter):
        focus = ToyLaneAdapter.__mro__[1].focus

    with pytest.raises(QuantizationError, match='Unruly has no rules of Selective Focus for ToyHe'):
        SemanticFocusLoss().check(Unruly())


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(floor=2), 'floor=2, features=0.0: use 0 <= floor <= 1'),
        (dict(selection=dict(interval=0)), 'interval=0, num_images=16: all must be >= 1'),
        (dict(selection=dict(ratios=(0.5, 1))), 'two or more ratios that rise from 0'),
        (dict(selection=dict(momentum=1)), 'momentum=1, ratios='),
        (dict(selection=dict(keep=2)), 'keep=2: use 0 <= keep <= 1'),
        (dict(features=-1), 'features=-1: use 0 <= floor'),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(QuantizationError, match=message):
        SemanticFocusLoss(**options)


@pytest.fixture
def tiny_detector():
    model = nn.Module()
    model.bbox_head = type('RetinaHead', (nn.Module,), {})()
    return model


@pytest.mark.parametrize('family', HEADS)
def test_every_family_has_a_loss(family, tiny_lanes):
    model = build_lane_model(family)
    adapter, data = build_adapter(model), lane_batch(model, tiny_lanes, 2)
    loss = SemanticFocusLoss(selection=False, features=1.0)
    loss.check(adapter)
    with torch.no_grad():
        raw = adapter.raw_outputs(data)
    target = loss.make_target(adapter, raw, data)
    assert sum(part.item() for part in loss(adapter, raw, data, target).values()) == 0
    free = {name: part.clone().requires_grad_() for name, part in adapter.parts(raw).items()}
    moved = {name: part + 0.1 * (1 + part.abs()) for name, part in free.items()}
    parts = loss(adapter, adapter.with_parts(raw, moved), data, target)
    assert list(parts) == [*adapter.head_groups(raw), 'features']
    sum(parts.values()).backward()
    assert all(torch.isfinite(part.grad).all() for part in free.values())
    assert all(part.grad.any() for name, part in free.items())

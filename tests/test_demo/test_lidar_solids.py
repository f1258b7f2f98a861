import numpy as np
import pytest

from mmptq.demo.lidar_catalog import BOX, FORMS, KINDS, MATERIALS, SHAPES
from mmptq.demo.lidar_solids import STATIC, SolidList, Solids, actor_solids, make_actor
from mmptq.demo.nuscenes_infos import CLASSES
from mmptq.demo.nuscenes_names import ATTRIBUTES, CATEGORIES


@pytest.mark.parametrize('form', FORMS)
def test_parts_stay_inside_the_box(form):
    for part in FORMS[form]:
        assert part.shape in SHAPES and part.material in MATERIALS and part.density > 0
        assert np.all(np.array(part.low) < part.high)
        assert np.all(np.array(part.low) >= [-0.5, -0.5, 0])
        assert np.all(np.array(part.high) <= [0.5, 0.5, 1])


def test_kinds_cover_the_ten_classes_and_use_known_names():
    assert {kind.label for kind in KINDS.values()} - {None} == set(CLASSES)
    assert {kind.category for kind in KINDS.values()} <= set(CATEGORIES)
    assert all(form in FORMS for kind in KINDS.values() for form in kind.forms)


def test_attributes_fit_the_class():
    rng = np.random.default_rng(0)
    for name, kind in KINDS.items():
        attribute = make_actor(rng, name, 0, 0, 0, 1.0).attribute
        if kind.label in ('traffic_cone', 'barrier', None):
            assert attribute == ''
        else:
            prefix = {'pedestrian': 'pedestrian', 'bicycle': 'cycle', 'motorcycle': 'cycle'}
            assert attribute in ATTRIBUTES
            assert attribute.startswith(prefix.get(kind.label, 'vehicle'))
    assert make_actor(rng, 'car', 0, 0, 0, 2.0).attribute == 'vehicle.moving'
    assert make_actor(rng, 'pedestrian', 0, 0, 0, 0.0).attribute == 'pedestrian.standing'


def test_actors_move_along_their_heading():
    actor = make_actor(np.random.default_rng(0), 'car', 1.0, 2.0, np.pi / 2, 3.0)
    assert actor.position(2.0) == pytest.approx((1.0, 8.0))


def test_solids_of_an_actor_lie_in_its_turned_box():
    actor = make_actor(np.random.default_rng(0), 'truck', 4.0, -3.0, 0.7, 0.0)
    solids = actor_solids([actor], 0.0, np.array([0.5]))
    assert np.all(solids.owner == 0) and np.allclose(solids.yaw, 0.7)
    turn = np.array([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])
    local = (solids.centre[:, :2] - [4.0, -3.0]) @ turn
    assert np.all(np.abs(local) + solids.half[:, :2] < np.array(actor.size[:2]) / 2)
    assert np.all(solids.centre[:, 2] - solids.half[:, 2] > 0.5)
    assert np.all(solids.centre[:, 2] + solids.half[:, 2] < 0.5 + actor.size[2])


def test_lists_of_solids_concatenate_in_order():
    one, two = SolidList(), SolidList()
    one.add(BOX, (1, 2, 3), (2, 4, 6), 'metal')
    two.add(BOX, (7, 8, 9), (1, 1, 1), 'glass', owner=5)
    both = Solids.concatenate([one.to_solids(), SolidList().to_solids(), two.to_solids()])
    assert both.owner.tolist() == [STATIC, 5]
    assert both.half.tolist() == [[1, 2, 3], [0.5, 0.5, 0.5]]

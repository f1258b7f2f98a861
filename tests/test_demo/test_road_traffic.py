import numpy as np

from mmptq.demo.road_layout import RoadLayout
from mmptq.demo.road_traffic import Painter, Vehicle, random_traffic
from mmptq.demo.road_view import RoadView


def test_vehicles_of_a_lane_do_not_overlap_and_the_far_come_first():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        layout = RoadLayout.random(rng, 'crowd')
        traffic = random_traffic(rng, layout, True)
        distances = [vehicle.distance for vehicle in traffic]
        assert distances == sorted(distances, reverse=True)
        lanes = {}
        for vehicle in traffic[::-1]:
            lane = round(vehicle.lateral / layout.lane_width)
            assert vehicle.distance >= lanes.get(lane, 0)
            lanes[lane] = vehicle.distance + vehicle.length
            assert vehicle.oncoming == (lane < layout.oncoming - layout.lanes_left)


def test_dense_traffic_has_more_vehicles():
    def count(dense):
        total = 0
        for seed in range(10):
            rng = np.random.default_rng(seed)
            total += len(random_traffic(rng, RoadLayout.random(rng, 'normal'), dense))
        return total

    assert count(True) > 2 * count(False) > 0


def test_a_vehicle_covers_its_place():
    view = RoadView.random(np.random.default_rng(0), 328, 118, False)
    image = np.full((118, 328, 3), 255, np.uint8)
    vehicle = Vehicle(0.0, 10.0, 1.8, 1.5, 4.0, (10.0, 20.0, 30.0), oncoming=False)
    lamps = Painter(image, view).draw_vehicle(vehicle)
    assert len(lamps) == 2 and lamps[0][0] < lamps[1][0]
    x, y = view.project(np.zeros(1), np.full(1, 10.0), 0.35)[0]
    assert image[round(y), round(x)].max() < 100
    reds = image[[round(lamp[1]) for lamp in lamps], [round(lamp[0]) for lamp in lamps]]
    assert (reds[:, 2] > reds[:, 0] + 50).all()


def test_things_out_of_the_image_are_harmless():
    view = RoadView.random(np.random.default_rng(0), 328, 118, False)
    image = np.zeros((118, 328, 3), np.uint8)
    painter = Painter(image, view)
    painter.draw_vehicle(Vehicle(-300.0, 2.5, 2, 2, 5, (9.0, 9.0, 9.0), oncoming=True))
    painter.draw_posts(-500.0, 5.0, 20.0, 100.0)
    assert not image.any()
    painter.draw_wall(6.0, 0.0, 2.0, np.full(3, 90.0))
    assert image.any()

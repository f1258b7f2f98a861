import torch
from lane_overfit import LANES, SIZE, road_sample

from mmptq.lanes.models.heads.curve.lane_encoding import input_size, lane_masks


def test_masks_cover_the_lanes():
    masks = lane_masks([road_sample(LANES[0]), road_sample([])], lane_width=3)
    assert masks.shape == (2, SIZE[1], SIZE[0]) and masks.dtype == torch.bool
    assert not masks[1].any()
    for lane in LANES[0]:
        for x, y in lane:
            assert masks[0, y, x]
    columns = masks[0, 90].nonzero()[:, 0]
    assert 6 <= len(columns) <= 12  # two lanes, 3 pixels wide and slanted


def test_size_with_padding():
    sample = road_sample([])
    assert input_size(sample) == SIZE[::-1]
    sample.set_metainfo(dict(batch_input_shape=(128, 192)))
    assert input_size(sample) == (128, 192)

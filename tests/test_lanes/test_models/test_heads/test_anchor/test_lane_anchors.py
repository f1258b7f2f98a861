"""Chosen anchors: pooling, counting, choosing."""

import pytest
import torch

from mmptq.lanes.models.heads.anchor.lane_anchors import LaneAnchors

GENERATOR = dict(
    type='LaneAnchorGenerator',
    lateral_origins=2,
    bottom_origins=5,
    left_angles=[45],
    bottom_angles=[90],
    right_angles=[135],
)


def make(num_anchors=9) -> LaneAnchors:
    """On 40x20 pixels: 2 left, 5 upright (x = 40, 30, 20, 10, 0) and 2 right anchors."""
    return LaneAnchors(GENERATOR, num_anchors, num_rows=5, image_size=(40, 20), stride=10)


def test_features_along_anchors():
    cells = torch.arange(8.0).reshape(1, 1, 2, 4) + 1
    pooled = make().pool(cells)[0]
    assert pooled.shape == (9, 2)
    # From the lower left corner to the upper right one, whose column 4 is the half of cell 3.
    assert pooled[0].tolist() == [4, 5]
    assert pooled[[3, 4, 5, 6]].tolist() == [[4, 8], [3, 7], [2, 6], [1, 5]]
    # The anchor from the upper left corner has left the image at the bottom.
    assert pooled[1].tolist() == [1, 0]


def test_channels_stay_together():
    cells = torch.stack([torch.ones(2, 4), torch.full((2, 4), 2.0)])[None]
    assert make().pool(cells)[0, 3].tolist() == [1, 1, 2, 2]


def test_features_of_another_size_are_refused():
    with pytest.raises(ValueError, match='40x20 pixels, but the feature map has 5x2 cells'):
        make().pool(torch.zeros(1, 1, 2, 5))
    with pytest.raises(ValueError, match='image_size of the head'):
        make().pool(torch.zeros(1, 1, 1, 4))


def test_the_best_matching_anchors_are_chosen():
    anchors = make(num_anchors=2)
    assert anchors.index.tolist() == [0, 8] and not anchors.chosen
    lanes = [torch.tensor([[30.0, 19], [30, 0]]), torch.tensor([[10.0, 19], [10, 0]])]
    counts = anchors.count_matches(lanes, max_distance=10.1)
    assert counts[[2, 3, 4, 5, 6]].tolist() == [1, 1, 2, 1, 1]
    anchors.choose(counts)
    assert anchors.index[0] == 4
    assert anchors.chosen and len(anchors.lanes()) == 2


def test_the_choice_is_part_of_the_checkpoint():
    anchors, other = make(num_anchors=3), make(num_anchors=3)
    anchors.choose(torch.arange(9))
    assert set(anchors.state_dict()) == {'index', 'chosen'}
    other.load_state_dict(anchors.state_dict())
    assert other.index.tolist() == [8, 7, 6] and other.chosen
    assert torch.equal(other.lanes().xs, anchors.lanes().xs)


def test_choice_by_a_file(tmp_path):
    path = tmp_path / 'frequency.pt'
    torch.save(torch.arange(9), path)
    anchors = make(num_anchors=2)
    anchors.choose_by_file(str(path))
    assert anchors.index.tolist() == [8, 7]
    torch.save(torch.arange(5), path)
    with pytest.raises(ValueError, match="frequency.pt' must hold a tensor of 9 numbers"):
        anchors.choose_by_file(str(path))
    with pytest.raises(FileNotFoundError, match='remove it and use LaneAnchorHook'):
        anchors.choose_by_file(str(tmp_path / 'missing.pt'))


@pytest.mark.parametrize('number', [1, 10])
def test_impossible_numbers_of_anchors_are_refused(number):
    with pytest.raises(ValueError, match='between 2 and 9, the number of generated'):
        make(number)

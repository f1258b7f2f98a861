"""Which detections are the same."""

import torch
from mmengine.structures import InstanceData

from mmptq.deploy.end_to_end.detections import Share, count_same, from_file, pairwise_iou


def instances(*rows: tuple) -> InstanceData:
    rows = torch.tensor(rows, dtype=torch.float32).view(-1, 6)
    return InstanceData(bboxes=rows[:, :4], scores=rows[:, 4], labels=rows[:, 5].long())


ONE = (0, 0, 10, 10, 0.5, 1)


def test_iou_by_hand():
    a = torch.tensor([[0.0, 0, 10, 10], [3, 3, 3, 3]])
    b = torch.tensor([[0.0, 0, 10, 5], [5, 5, 15, 15]])
    torch.testing.assert_close(pairwise_iou(a, b), torch.tensor([[0.5, 25 / 175], [0, 0]]))


def test_pairs():
    assert count_same(instances(ONE), instances(ONE)) == 1
    assert count_same(instances(ONE, ONE), instances(ONE)) == 1  # each is taken once
    assert count_same(instances((0, 0, 10, 10.05, 0.505, 1)), instances(ONE)) == 1
    assert count_same(instances((0, 0, 10, 10.2, 0.5, 1)), instances(ONE)) == 0
    assert count_same(instances((0, 0, 10, 10, 0.52, 1)), instances(ONE)) == 0
    assert count_same(instances((0, 0, 10, 10, 0.5, 2)), instances(ONE)) == 0
    assert count_same(instances(), instances(ONE)) == 0
    empty = (4, 4, 4, 4, 0.5, 1)
    assert count_same(instances(empty), instances(empty)) == 1


def test_share():
    share = Share()
    assert share.value == 1.0
    share.update(instances(ONE), instances(ONE, (0, 0, 5, 5, 0.4, 0)))
    assert (share.same, share.all, str(share)) == (1, 2, '50.0 % of 2')


def test_detections_of_a_file():
    boxes = torch.tensor([[0.0, 0, 50, 30], [0, 0, 0, 0]])
    found = from_file(boxes, torch.tensor([0.5, 0]), torch.tensor([3, -1]), (20, 40))
    assert found.bboxes.tolist() == [[0, 0, 40, 20]]
    assert found.labels.tolist() == [3]
    assert from_file(boxes, torch.zeros(2), torch.tensor([3, -1])).bboxes.tolist() == [
        [0, 0, 50, 30]
    ]

"""Segmentation models learn lanes and give them back."""

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope
from seg_models import HEIGHT, LANES, batch, build, make_sample
from torch.optim import AdamW

from mmptq.lanes.geometry.lane_points import lane_xs
from mmptq.lanes.models.heads.segmentation.lane_seg_targets import segmentation_target


@pytest.fixture(autouse=True)
def scope():
    DefaultScope.get_instance('lanes', scope_name='mmdet')


# The existence branch of RESA, behind features that grow with each shift, needs a lower rate.
@pytest.mark.parametrize(
    ('kind', 'lr', 'steps'),
    [
        pytest.param('enet', 3e-3, 120, marks=pytest.mark.slow),
        ('scnn', 3e-3, 80),
        pytest.param('resa', 1e-3, 200, marks=pytest.mark.slow),
    ],
)
def test_overfits_tiny_images_and_decodes_their_lanes(kind, lr, steps):
    model = build(kind)
    optimizer = OptimWrapper(AdamW(model.parameters(), lr=lr))
    data = batch()
    for _ in range(steps):
        model.train_step(data, optimizer)
    samples = model.eval().test_step(batch())
    assert [len(sample.pred_lanes) for sample in samples] == [2, 1, 0]
    for sample, lanes in zip(samples, LANES, strict=True):
        for predicted, lane in zip(sample.pred_lanes, lanes, strict=True):
            rows = predicted[:, 1].numpy()
            assert rows.max() - rows.min() >= HEIGHT / 2
            inside = (rows >= 5) & (rows <= 47)
            misses = abs(predicted[inside, 0].numpy() - lane_xs(lane, rows[inside]))
            assert misses.mean() < 2 and misses.max() < 4, misses


def test_losses_of_certain_outputs():
    head = build('enet').lane_head
    sample = make_sample(LANES[0], [0, 3])
    outputs = dict(
        seg=torch.full((1, 5, HEIGHT, 64), 0.0), exist=torch.tensor([[20.0, -20, -20, 20]])
    )
    losses = head.loss_by_output(outputs, [sample])
    assert losses['loss_seg'].item() == pytest.approx(torch.tensor(5.0).log().item())
    assert losses['loss_exist'].item() == pytest.approx(0, abs=1e-6)
    # Without lanes, all weight is on the background, which is right with certainty.
    outputs['seg'][:, 0] = 50
    losses = head.loss_by_output(outputs, [make_sample([], [])])
    assert losses['loss_seg'].item() == pytest.approx(0, abs=1e-6)
    assert losses['loss_exist'].item() == pytest.approx(0.1 * (20 + 0 + 0 + 20) / 4, rel=1e-4)
    assert losses['loss_iou'].item() == pytest.approx(0, abs=1e-6)


def test_background_counts_less():
    head = build('enet').lane_head
    sample = make_sample([[[32, 0], [32, 47]]], [2])
    scores = torch.zeros(1, 5, HEIGHT, 64)
    scores[:, 0] = 10.0  # background everywhere: wrong on the lane only
    loss = head.loss_by_output(dict(seg=scores, exist=torch.zeros(1, 4)), [sample])['loss_seg']
    lane = (segmentation_target(sample, 4, head.lane_width)[0] > 0).sum().item()
    rest = HEIGHT * 64 - lane
    assert lane >= 3 * HEIGHT
    assert loss.item() == pytest.approx(10 * lane / (lane + 0.4 * rest), rel=1e-3)


def test_features_of_another_size_are_refused():
    model = build('resa')
    with pytest.raises(ValueError, match=r'expects features of \(6, 8\).*got \(6, 10\)'):
        model(torch.zeros(1, 3, 48, 80))


def test_pixels_are_background_before_training():
    shares = build('scnn')(torch.rand(1, 3, 48, 64), mode='tensor')['seg'].softmax(dim=1)
    assert shares[:, 0].mean() > 0.7

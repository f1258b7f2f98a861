"""The aggregator collects features at the points that it predicts."""

import pytest
import torch

from mmptq.lanes.models.necks.lane_feature_aggregator import LaneFeatureAggregator


def shifting(y: float, x: float) -> LaneFeatureAggregator:
    """Passes its input on, taken at one fixed point for all positions."""
    aggregator = LaneFeatureAggregator(1, feat_channels=1, num_points=3, stacked_convs=0)
    for parameter in aggregator.parameters():
        parameter.data.zero_()
    aggregator.points[-1].bias.data.copy_(torch.tensor([y, x] * 3))
    aggregator.aggregation.weight.data.fill_(1 / 3)
    return aggregator


def test_features_come_from_the_points():
    image = torch.rand(2, 1, 6, 8)
    features, points = shifting(1, -2)(image)
    assert points.shape == (2, 6, 6, 8)
    torch.testing.assert_close(features[..., :5, 2:], image[..., 1:, :-2])


def test_points_may_lie_between_cells():
    image = torch.rand(1, 1, 6, 8)
    features, _ = shifting(0, 0.5)(image)
    torch.testing.assert_close(features[..., :-1], (image[..., :-1] + image[..., 1:]) / 2)


def test_a_tenth_of_the_gradient_reaches_the_points():
    gradients = []
    for share in (1.0, 0.1):
        aggregator = shifting(0.25, 0.5)
        aggregator.gradient_share = share
        torch.manual_seed(0)
        features, _ = aggregator(torch.rand(1, 1, 6, 8))
        features.square().sum().backward()
        gradients.append(aggregator.points[-1].bias.grad)
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(gradients[1], 0.1 * gradients[0])


def test_any_batch_size():
    assert shifting(0, 0)(torch.rand(33, 1, 2, 3))[0].shape == (33, 1, 2, 3)


def test_even_numbers_of_points_are_refused():
    with pytest.raises(ValueError, match='odd num_points, got 4'):
        LaneFeatureAggregator(1, num_points=4)

"""CLRNet's lines before training, and their x at heights."""

import pytest
import torch

from mmptq.lanes.models.heads.anchor.lane_priors import initial_priors, line_xs


def test_initial_lines():
    below = [[0, x, angle] for x in (0.25, 0.5, 0.75) for angle in (0.2, 0.4, 0.6, 0.8)]
    expected = [[0, 0, 0.16], [0, 0, 0.32], *below, [0, 1, 0.68], [0, 1, 0.84]]
    torch.testing.assert_close(initial_priors(16), torch.tensor(expected))


def test_sides_start_in_the_lower_half():
    priors = initial_priors(192)
    assert len(priors) == 192
    left, right = priors[:24], priors[-24:]
    for side, x in ((left, 0), (right, 1)):
        assert (side[:, 1] == x).all()
        torch.testing.assert_close(side[::2, 0], torch.linspace(0, 0.5, 12))
    assert (priors[24:-24, 0] == 0).all()


@pytest.mark.parametrize('number', [0, 8, 24])
def test_numbers_that_cannot_be_divided(number):
    with pytest.raises(ValueError, match=f'multiple of 16, got {number}'):
        initial_priors(number)


def test_x_at_heights():
    lines = torch.tensor([[0.0, 0.5, 0.5], [0.5, 0.0, 0.25], [0.0, 1.0, 0.75]])
    xs = line_xs(lines, torch.tensor([0.0, 0.5, 1.0]), aspect=0.4)
    expected = [[0.5, 0.5, 0.5], [-0.2, 0, 0.2], [1, 0.8, 0.6]]
    torch.testing.assert_close(xs, torch.tensor(expected), rtol=0, atol=1e-4)
    assert line_xs(lines.expand(4, -1, -1), torch.zeros(5), 1.0).shape == (4, 3, 5)

"""Priors as a formula equal those of the generator."""

import pytest
import torch

from mmptq.deploy.end_to_end.level_priors import LevelPriors
from mmptq.quantization import QuantizationError


@pytest.mark.parametrize('level', [0, 1])
def test_anchors(level):
    from mmdet.models.task_modules import AnchorGenerator

    generator = AnchorGenerator([8, 16], [0.5, 1.0], octave_base_scale=4, scales_per_octave=3)
    priors = LevelPriors(generator, level)
    expected = generator.single_level_grid_priors((3, 11), level, device='cpu')
    assert torch.equal(priors(torch.arange(3 * 11 * 6), 11), expected)


def test_points_with_strides():
    from mmdet.models.task_modules import MlvlPointGenerator

    priors = LevelPriors(MlvlPointGenerator([8], offset=0.5), 0, with_stride=True)
    assert priors(torch.tensor([[0, 5]]), 4).tolist() == [[[4, 4, 8, 8], [12, 12, 8, 8]]]


def test_uneven_priors_are_refused():
    class Uneven:
        def single_level_grid_priors(self, size, level, device):
            return torch.arange(size[0] * size[1] * 2.0, device=device).square().view(-1, 2)

    with pytest.raises(QuantizationError, match='the priors of Uneven are not evenly spaced'):
        LevelPriors(Uneven(), 0)

import torch

from mmptq.lanes.models import ReducedResNet


def test_size_of_the_papers_backbone():
    model = ReducedResNet(18, base_channels=16, out_indices=(3,))
    model.eval()  # mmdet's returns nothing
    assert sum(parameter.numel() for parameter in model.parameters()) == 697424
    assert model(torch.zeros(1, 3, 96, 160))[0].shape == (1, 128, 3, 5)

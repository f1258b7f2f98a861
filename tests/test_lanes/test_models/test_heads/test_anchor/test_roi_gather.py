"""Features of CLRNet's priors: shapes, context, and the order of resizing."""

import torch
from torch.nn import functional as F

from mmptq.lanes.models.heads.anchor.roi_gather import ROIGather


def gather() -> ROIGather:
    torch.manual_seed(0)
    module = ROIGather(8, num_priors=5, num_points=6, mid_channels=4, context_size=(2, 3))
    module.init_weights()
    return module.eval()


def features(module: ROIGather, count: int) -> list[torch.Tensor]:
    return [module.reduce(torch.randn(2, 8, 5, 6), stage) for stage in range(count)]


@torch.no_grad()
def test_each_stage_reads_all_before():
    module = gather()
    reduced = features(module, 3)
    feature = torch.randn(2, 8, 4, 6)
    for count in (1, 2, 3):
        result = module(reduced[:count], feature)
        assert result.shape == (2, 5, 8)
        for changed in range(count):
            other = list(reduced[:count])
            other[changed] = other[changed] + 1
            assert not torch.equal(module(other, feature), result)


@torch.no_grad()
def test_context_adds_nothing_at_first():
    module = gather()
    reduced = features(module, 1)
    joint = module.joint_convs[0](reduced[0]).permute(0, 2, 1, 3).reshape(2, 5, 48)
    expected = F.relu(module.norm(module.fc(joint)))
    torch.testing.assert_close(module(reduced, torch.randn(2, 8, 4, 6)), expected)


@torch.no_grad()
def test_context_is_the_attention_to_cells():
    module = gather()
    reduced, feature = features(module, 1), torch.randn(2, 8, 4, 6)
    before = module(reduced, feature)
    torch.nn.init.ones_(module.out.weight)
    # The published order: layers first, then the small map.
    keys = F.interpolate(module.key(feature), (2, 3)).flatten(2)
    values = F.interpolate(module.value(feature), (2, 3)).flatten(2)
    queries = F.relu(module.query(before))
    weights = (queries @ keys / 8**0.5).softmax(dim=-1)
    expected = before + torch.einsum('bap,bcp->bac', weights, values)
    torch.testing.assert_close(module(reduced, feature), expected)

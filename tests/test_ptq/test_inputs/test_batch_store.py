"""Batches come back as they were, as often as they are asked for."""

import copy

import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import nn

from mmptq.ptq.inputs.batch_store import BatchStore


def test_batches_beyond_the_budget_keep_every_bit(tmp_path):
    batches = [torch.randn(1000) * 1e6 + index for index in range(5)]
    budget = 2 * 4000 + 100
    with BatchStore(iter(batches), nn.Identity(), tmp_path / 'batches', budget) as store:
        assert len(store) == 5
        for _ in range(2):
            assert all(torch.equal(x, y) for x, y in zip(store, batches, strict=True))
        assert list((tmp_path / 'batches').iterdir())
    assert not any(path.is_file() for path in tmp_path.rglob('*'))


def test_what_is_done_to_a_batch_does_not_last(tmp_path):
    class Detector(nn.Module):
        data_preprocessor = None

    sample = DetDataSample(metainfo=dict(img_path='a.jpg'))
    batch = dict(inputs=[torch.ones(3, 2, 2)], data_samples=[sample])
    expected = copy.deepcopy(batch['inputs'])
    for batches in ([batch], iter([batch])):
        store = BatchStore(batches, Detector(), tmp_path)
        for read in store:
            read['inputs'][0].zero_()
            read['data_samples'][0].pred_instances = InstanceData()
        (again,) = store
        assert torch.equal(again['inputs'][0], expected[0])
        assert not hasattr(again['data_samples'][0], 'pred_instances')
        assert not hasattr(sample, 'pred_instances')
        assert again['data_samples'][0].img_path == 'a.jpg'

"""Float targets under a budget, made from the sample that is read back."""

from dataclasses import dataclass

import pytest
import torch
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement, InstanceData
from reconstruction import ToyAdapter, toy_context

from mmptq.adapters import HeadOutput
from mmptq.losses import TaskLoss
from mmptq.ptq import ActivationCache
from mmptq.ptq.teacher.packing import pack, unpack
from mmptq.ptq.teacher.teacher_outputs import TeacherOutputs
from mmptq.quantization import QuantizationError, quantizers_off
from mmptq.utils.trees import flatten


def make_teacher(ctx, budget, loss=None):
    samples = ActivationCache(budget, ctx.work_dir)
    for data in ctx.loader:
        samples.append(data, exact=True)
    loss = MODELS.build(loss or dict(type='DetectionOutputLoss', score_thr=0.01))
    return TeacherOutputs(ctx.model, ToyAdapter(ctx.model), loss, samples, budget)


@torch.no_grad()
@pytest.mark.parametrize('budget', [2**20, 500])
def test_float_has_no_distance_from_itself_whatever_the_budget(tmp_path, budget):
    ctx = toy_context(tmp_path)
    with make_teacher(ctx, budget) as teacher:
        assert teacher.found == list(range(len(teacher))) == list(range(6))
        assert teacher.used_bytes <= budget
        for index, data in enumerate(ctx.loader):
            assert torch.equal(teacher.data(index)['inputs'], data['inputs'])
            with quantizers_off(ctx.model):
                raw = teacher.raw_outputs(index)
            assert teacher.distance(index, raw).item() == 0
            assert teacher.distance(index, teacher.raw_outputs(index)) > 0
            (output,) = teacher.target(index)
            assert torch.equal(output.scores, ToyAdapter(ctx.model).outputs(raw)[0].scores)
        files = len(list(tmp_path.glob('activations_*')))
        assert files == (0 if budget > 1000 else 2)  # samples and targets
        teacher.samples.close()
    assert not list(tmp_path.glob('activations_*'))


@MODELS.register_module()
class VectorLoss(TaskLoss):
    """Wrong: gives one value per image."""

    needs_target = False

    def forward(self, adapter, raw, data, target):
        return raw[0][0].mean((1, 2, 3))


def test_a_loss_that_is_no_scalar_is_named(tmp_path):
    teacher = make_teacher(toy_context(tmp_path), 2**20, dict(type='VectorLoss'))
    with pytest.raises(QuantizationError, match='VectorLoss.forward returned .* return a scalar'):
        teacher.parts(0, teacher.raw_outputs(0))


class Boxes:
    """Like the boxes of mmdet and mmdet3d."""

    def __init__(self, tensor, kind):
        self.tensor, self.kind = tensor, kind


@dataclass
class Labels:
    samples: list
    loss: torch.Tensor


def test_packing_is_undone():
    element = BaseDataElement(metainfo=dict(path='a.png', shape=(3, 4)))
    instances = InstanceData(scores=torch.rand(2), boxes=torch.rand(2, 4))
    element.instances = instances
    element.maps = ([torch.rand(3)], torch.rand(2))
    boxes = Boxes(torch.rand(2, 7), 'lidar')
    output = HeadOutput('head', torch.rand(1, 5, 3), dict(bbox=torch.rand(1, 5, 4)), softmax=True)
    data = (Labels([element, boxes], torch.tensor(2.0)), [output], 'text', None)
    packed = pack(data)
    assert len(flatten(packed)[0]) == 8  # nothing stays outside of a cache
    labels, (head,), text, nothing = unpack(packed)
    assert text == 'text' and nothing is None and labels.loss == 2
    found, found_boxes = labels.samples
    assert found is not element and found.path == 'a.png' and found.shape == (3, 4)
    assert torch.equal(found.instances.boxes, instances.boxes) and len(found.instances) == 2
    assert torch.equal(found.maps[0][0], element.maps[0][0])
    assert found_boxes.kind == 'lidar' and torch.equal(found_boxes.tensor, boxes.tensor)
    assert boxes.tensor.shape == (2, 7)  # the original keeps its values
    assert head.softmax and head.boxes is None and torch.equal(head.scores, output.scores)


def test_data_samples_of_mmdet3d_survive():
    structures = pytest.importorskip('mmdet3d.structures')
    sample = structures.Det3DDataSample(metainfo=dict(lidar_path='x.bin'))
    boxes = structures.LiDARInstance3DBoxes(torch.rand(3, 9), box_dim=9)
    sample.gt_instances_3d = InstanceData(bboxes_3d=boxes, labels_3d=torch.arange(3))
    packed = pack([sample])
    assert len(flatten(packed)[0]) == 2
    (found,) = unpack(packed)
    assert found.lidar_path == 'x.bin'
    assert torch.equal(found.gt_instances_3d.bboxes_3d.tensor, boxes.tensor)
    assert found.gt_instances_3d.bboxes_3d.box_dim == 9
    assert found.gt_instances_3d.labels_3d.tolist() == [0, 1, 2]

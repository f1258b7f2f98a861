"""Gradients at many modules from one backward, against autograd by hand."""

import pytest
import torch
from mmengine.registry import MODELS
from reconstruction import ToyAdapter, ToyDetector, images, toy_context
from torch import nn

from mmptq.losses import TaskLoss
from mmptq.ptq import ActivationCache
from mmptq.ptq.teacher.gradients import Gradients, collect_gradients
from mmptq.ptq.teacher.teacher_outputs import TeacherOutputs
from mmptq.quantization import quantizers_off

LOSS = dict(type='DetectionOutputLoss', score_thr=0.01)


class ScoresLoss(TaskLoss):
    """Does not read the boxes."""

    needs_target = False

    def forward(self, adapter, raw, data, target):
        return adapter.outputs(raw)[0].scores.square().mean()


class NormDetector(ToyDetector):
    """With a BatchNorm that training mode would change."""

    def __init__(self):
        super().__init__()
        self.stem.insert(1, nn.BatchNorm2d(8))


@pytest.fixture
def teacher(tmp_path):
    ctx = toy_context(tmp_path)
    samples = ActivationCache(2**20, tmp_path)
    for data in ctx.loader:
        samples.append(data, exact=True)
    loss = MODELS.build(LOSS)
    return TeacherOutputs(ctx.model, ToyAdapter(ctx.model), loss, samples, 2**20)


def test_outputs_inputs_and_calls(teacher, tmp_path):
    model = teacher.model
    modules = {name: model.get_submodule(name) for name in ('stem', 'blocks.1', 'bbox_head.tower')}
    gradients = Gradients(2**20, tmp_path)
    collect_gradients(teacher, modules, gradients, ('input', 'output'))
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert gradients.samples('stem') == list(range(6))
    assert gradients.num_calls('bbox_head.tower', 3) == 2

    # By hand, without any in-place operation on what is differentiated.
    stem = model.stem(images()[3]).detach().requires_grad_()
    middle = model.blocks[0](stem.clone())
    middle.retain_grad()
    last = model.blocks[1](middle.clone())
    last.retain_grad()
    tower = [model.bbox_head.tower(x) for x in (last, last[..., ::2, ::2])]
    for x in tower:
        x.retain_grad()
    features = [x.clone().relu() for x in tower]
    raw = (
        [model.bbox_head.scores(x) for x in features],
        [model.bbox_head.boxes(x) for x in features],
    )
    teacher.distance(3, raw).backward()
    expected = dict(stem=stem.grad, middle=middle.grad, last=last.grad)
    found = dict(
        stem=gradients.of('stem', 3, 0)[0],
        middle=gradients.of('blocks.1', 3, 0, 'input')[0],
        last=gradients.of('blocks.1', 3, 0)[0],
    )
    for name, x in expected.items():
        assert x.abs().sum() > 0
        torch.testing.assert_close(found[name], x)
    for call, x in enumerate(tower):
        torch.testing.assert_close(gradients.of('bbox_head.tower', 3, call)[0], x.grad)


def test_the_gradient_at_an_input_is_that_of_one_reader(teacher, tmp_path):
    model = teacher.model
    modules = dict(scores=model.bbox_head.scores, boxes=model.bbox_head.boxes)
    modules['tower'] = model.bbox_head.tower
    gradients = Gradients(2**20, tmp_path)
    collect_gradients(teacher, modules, gradients, ('input', 'output'))
    parts = [gradients.of(name, 0, 0, 'input')[0] for name in ('scores', 'boxes')]
    assert parts[0].abs().sum() > 0
    # Both read the output of the tower, whose ReLU works in place.
    both = gradients.of('tower', 0, 0)[0]
    active = both != 0
    torch.testing.assert_close(sum(parts)[active], both[active])


def test_raw_outputs_and_what_the_loss_does_not_read(teacher, tmp_path):
    gradients = Gradients(2**20, tmp_path)
    collect_gradients(teacher, {'': teacher.model}, gradients)
    found = gradients.of('', 1, 0)
    raw = teacher.float_raw(1)
    assert [x.shape for x in found] == [x.shape for x in sum(raw, [])]
    samples = teacher.samples
    other = TeacherOutputs(teacher.model, teacher.adapter, ScoresLoss(), samples, 2**20)
    gradients = Gradients(2**20, tmp_path)
    collect_gradients(other, {'': teacher.model}, gradients)
    assert [x is None for x in gradients.of('', 1, 0)] == [False, False, True, True]


def test_batchnorm_is_in_eval_mode_meanwhile(tmp_path):
    ctx = toy_context(tmp_path, NormDetector())
    samples = ActivationCache(2**20, tmp_path)
    samples.append(ctx.first_batch(), exact=True)
    loss = MODELS.build(LOSS)
    teacher = TeacherOutputs(ctx.model, ToyAdapter(ctx.model), loss, samples, 2**20)
    norm = ctx.model.stem[1]
    ctx.model.train()
    before = {name: x.clone() for name, x in ctx.model.state_dict().items()}
    with quantizers_off(ctx.model):
        collect_gradients(teacher, dict(stem=ctx.model.stem), Gradients(2**20, tmp_path))
    assert norm.training and ctx.model.training
    assert all(torch.equal(x, before[name]) for name, x in ctx.model.state_dict().items())


def test_small_gradients_survive_a_small_budget(tmp_path):
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0)) * 1e-9
    for budget in (10**6, 3000, 1):
        with Gradients(budget, tmp_path) as gradients:
            gradients.append('a', 4, [[x, None, torch.zeros(3)]])
            found = gradients.of('a', 4, 0)
        assert found[1] is None and found[2].tolist() == [0, 0, 0]
        torch.testing.assert_close(found[0], x, rtol=1e-3, atol=1e-12)
        if budget == 10**6:
            assert torch.equal(found[0], x)  # scaled by a power of two
    assert not list(tmp_path.iterdir())


def test_sparse_tensors_keep_their_sites(tmp_path):
    spconv = pytest.importorskip('spconv.pytorch')
    from mmptq.ptq.teacher.gradients import _Recorder

    indices = torch.tensor([[0, 1, 2, 3], [0, 2, 2, 2]], dtype=torch.int32)
    x = spconv.SparseConvTensor(torch.ones(2, 4), indices, [4, 4, 4], 1)
    recorder = _Recorder(dict(conv=nn.Identity()), ('output',))
    y = recorder.record('conv', 'output', [x])[0]
    assert y.indices is x.indices and y.indice_dict is x.indice_dict
    (y.features * torch.tensor([1.0, 2, 3, 4])).sum().backward()
    features, places = recorder.found['conv', 'output'][0]
    assert features.grad.tolist() == [[1, 2, 3, 4]] * 2 and places.grad is None

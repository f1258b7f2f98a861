"""Self attention distillation, by hand and by its effect."""

import pytest
import torch
from mmengine.registry import DefaultScope
from seg_models import batch, build

from mmptq.lanes.models import SADLoss
from mmptq.lanes.models.losses.sad_loss import attention_energy, attention_map


@pytest.fixture(autouse=True)
def scope():
    DefaultScope.get_instance('lanes', scope_name='mmdet')


def feature(*channels) -> torch.Tensor:
    """One image; a channel is given by its rows."""
    return torch.tensor([channels], dtype=torch.float32)


def test_energy_is_the_sum_of_squares():
    energy = attention_energy(feature([[1, -2]], [[3, 0]]))
    assert energy.tolist() == [[[10, 4]]]
    assert attention_energy(torch.full((1, 4, 1, 1), 200.0).half()).item() == 160000


def test_loss_by_hand():
    # log 1 and log 3 as energies give the shares 1/4 and 3/4.
    root = torch.tensor([0.0, torch.tensor(3.0).log().sqrt()])
    shallow = root.view(1, 1, 1, 2)
    deep = root.flip(0).view(1, 1, 1, 2)
    loss = SADLoss(stages=(0, 1), loss_weight=1.0)
    assert loss([shallow, deep]).item() == pytest.approx(2 * 0.5**2)
    loss = SADLoss(stages=(0, 1, 2), loss_weight=0.1)
    assert loss([shallow, deep, shallow]).item() == pytest.approx(0.1 * 2 * 2 * 0.5**2)
    # The mean over the batch, not the sum: one pair of two differs.
    pair = torch.cat([shallow, deep]), torch.cat([deep, deep])
    assert SADLoss((0, 1), loss_weight=1.0)(pair).item() == pytest.approx(0.5**2)


def test_the_deeper_map_is_enlarged_before_its_softmax():
    deep = attention_energy(torch.rand(2, 3, 4, 5))
    enlarged = attention_map(deep, (8, 10))
    assert enlarged.shape == (2, 8, 10)
    assert enlarged.sum(dim=(1, 2)).tolist() == pytest.approx([1, 1])


def test_only_the_shallow_stage_learns():
    shallow = torch.rand(2, 3, 8, 10, requires_grad=True)
    deep = torch.rand(2, 6, 4, 5, requires_grad=True)
    SADLoss((0, 1))([shallow, deep]).backward()
    assert shallow.grad.abs().sum() > 0
    assert deep.grad is None


def test_the_loss_does_not_vanish_with_the_number_of_positions():
    """Maps of a lane, like those of CULane at stride 8, differ by far more than 1e-7."""
    columns = torch.arange(100.0)
    maps = [3 * torch.exp(-((columns - x) ** 2) / 20).expand(1, 1, 36, 100) for x in (30, 33)]
    assert SADLoss((0, 1), loss_weight=1.0)(maps).item() > 1e-4


def test_relative_energies_neither_saturate_nor_depend_on_scale():
    shallow, deep = torch.rand(2, 8, 6, 7), torch.rand(2, 8, 6, 7)
    plain = SADLoss((0, 1), loss_weight=1.0)
    relative = SADLoss((0, 1), loss_weight=1.0, relative=True)
    assert relative([30 * shallow, 50 * deep]).item() == pytest.approx(
        relative([shallow, deep]).item(), rel=1e-4
    )
    for loss, learns in ((plain, False), (relative, True)):
        large = (100 * shallow).requires_grad_()
        loss([large, 100 * deep]).backward()
        assert (large.grad.abs().max() > 1e-7).item() is learns


def test_one_stage_is_refused():
    with pytest.raises(ValueError, match='at least two stages'):
        SADLoss(stages=(1,))


@pytest.mark.parametrize('kind', ['enet', 'scnn', 'resa'])
def test_any_backbone_with_stages_can_be_distilled(kind):
    stages = (1, 2, 3) if kind == 'enet' else (0, 1, 2)
    model = build(kind, distillation=dict(type='SADLoss', stages=stages))
    data = model.data_preprocessor(batch(), True)
    assert 'loss_distillation' not in model(**data, mode='loss')
    model.distillation.enabled = True
    model(**data, mode='loss')['loss_distillation'].backward()
    touched = {name.split('.')[0] for name, p in model.named_parameters() if p.grad is not None}
    assert touched == {'backbone'}


def test_inference_has_no_trace_of_it(tmp_path):
    onnx = pytest.importorskip('onnx')
    runtime = pytest.importorskip('onnxruntime')
    plain = build('enet').eval()
    distilled = build('enet', distillation=dict(type='SADLoss', stages=(1, 2, 3))).eval()
    distilled.distillation.enabled = True
    assert plain.state_dict().keys() == distilled.state_dict().keys()
    image = torch.rand(1, 3, 48, 64)
    graphs = []
    for name, model in dict(plain=plain, distilled=distilled).items():
        path = str(tmp_path / f'{name}.onnx')
        torch.onnx.export(
            model, (image,), path, input_names=['image'], opset_version=17, dynamo=False
        )
        graphs.append([(n.op_type, list(n.input)) for n in onnx.load(path).graph.node])
    assert graphs[0] == graphs[1]
    exported = runtime.InferenceSession(path).run(None, {'image': image.numpy()})
    with torch.no_grad():
        expected = distilled(image)
    for values, name in zip(exported, ('seg', 'exist'), strict=True):
        scale = expected[name].abs().max().item()
        assert abs(values - expected[name].numpy()).max() < 1e-4 * scale

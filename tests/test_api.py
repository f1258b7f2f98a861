"""Any module is quantized in a few lines, without a Runner."""

import copy
import json

import pytest
import torch
from helpers import run_tool
from mmengine.config import Config
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import mmptq
from mmptq.quantization import FakeQuantizer, QuantizationError, quantized_layers
from mmptq.report import read_record

MINMAX = [dict(type='Calibrator')]


class Net(nn.Module):
    """Convolution, BatchNorm, classifier."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.fc = nn.Linear(16, 5)

    def forward(self, x):
        return self.fc(self.norm(self.conv(x)).relu_().mean((2, 3)))


class TwoInputs(nn.Module):
    """Adds two projections; changes its input in place, as some models do."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 16), nn.Linear(6, 16)

    def forward(self, left, right):
        return self.a(left.mul_(2)) + self.b(right)


def net(cls=Net):
    torch.manual_seed(0)
    model = cls()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model


def images(count=4):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, 3, 8, 8, generator=generator) for _ in range(count)]


def same(first, second):
    states = first.state_dict(), second.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(x, states[1][key]) for key, x in states[0].items()
    )


@torch.no_grad()
def test_a_plain_net(tmp_path):
    model, original = net(), net().eval()
    found = mmptq.quantize(model, images(), 'int8', MINMAX, work_dir=tmp_path)
    assert found is model and not model.training
    layers = quantized_layers(model)
    assert list(layers) == ['conv', 'fc']
    gain = original.norm.weight / (original.norm.running_var + original.norm.eps).sqrt()
    weight = original.conv.weight * gain.view(-1, 1, 1, 1)
    scale = weight.abs().amax((1, 2, 3)) / 127
    torch.testing.assert_close(model.conv.weight_quantizer.scale, scale)
    shape = scale.view(-1, 1, 1, 1)
    torch.testing.assert_close(model.conv.weight, (weight / shape).round() * shape)
    inputs = torch.cat(images())
    expected = (inputs.max() - inputs.min()) / 255
    torch.testing.assert_close(model.conv.input_quantizer.scale, expected.view(1))
    error = (model(inputs) - original(inputs)).abs().max()
    assert 0 < error < 0.05 * original(inputs).abs().max()
    assert {p.name for p in tmp_path.iterdir()} == {'quantized.pth', 'coverage.json', 'run.json'}
    rows = json.loads((tmp_path / 'coverage.json').read_text())
    assert [(row['layer'], row['weight'].split()[0]) for row in rows] == [
        ('conv', 'int8'),
        ('fc', 'int8'),
    ]
    assert read_record(tmp_path, 'result')['num_samples'] == 4
    assert read_record(tmp_path, 'coverage') == rows
    loaded = mmptq.load(net(), tmp_path / 'quantized.pth')
    assert same(loaded, model) and torch.equal(loaded(inputs), model(inputs))


def test_nothing_is_left_without_a_work_dir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    mmptq.quantize(net(), images(1), recipe=dict(type='Calibrator'))
    assert list(tmp_path.iterdir()) == []


def test_any_iterable_gives_the_same_bits():
    whole = TensorDataset(torch.cat(images()))
    expected = mmptq.quantize(net(), images(), 'w4a4', MINMAX)
    for batches in (
        (x for x in images()),
        tuple(images()),
        [[x] for x in images()],
        DataLoader(whole, batch_size=2),
    ):
        assert same(mmptq.quantize(net(), batches, 'w4a4', MINMAX), expected)


def test_a_stage_that_reads_the_data_often_takes_a_generator_and_a_shuffled_loader():
    stages = [*MINMAX, dict(type='Reconstructor', num_iters=3), dict(type='BiasCorrection')]
    batches = images()
    expected = mmptq.quantize(net(), batches, 'w4a4', stages)
    assert same(mmptq.quantize(net(), iter(images()), 'w4a4', stages), expected)
    assert all(torch.equal(x, y) for x, y in zip(batches, images(), strict=True))
    mmptq.quantize(net(), DataLoader(TensorDataset(torch.cat(images())), 2, True), 'w4a4', stages)


@pytest.mark.parametrize('recipe', ['mse', 'cle_mse', 'adaround', 'qdrop', 'bias_correction'])
def test_recipes_for_any_module(recipe, monkeypatch):
    monkeypatch.setattr('mmptq.ptq.stages.reconstructor.TrainingSettings', short_training)
    model = mmptq.quantize(net(), images(2), 'w4a8', recipe)
    assert all(m.calibrated for m in model.modules() if isinstance(m, FakeQuantizer))


def short_training(rounding, act_lr, drop_prob, num_iters, batch_size):
    from mmptq.ptq.units.unit_training import TrainingSettings

    return TrainingSettings(rounding, act_lr, drop_prob, 3, batch_size)


def test_positional_and_keyword_arguments():
    left, right = torch.randn(3, 4), torch.randn(3, 6)
    expected = mmptq.quantize(net(TwoInputs), [(left.clone(), right)], recipe=MINMAX)
    scale = (2 * left).max().clamp(min=0) - (2 * left).min().clamp(max=0)
    torch.testing.assert_close(expected.a.input_quantizer.scale, (scale / 255).view(1))
    batches = [dict(right=right, left=left)]
    assert same(mmptq.quantize(net(TwoInputs), batches, recipe=MINMAX), expected)
    assert same(mmptq.quantize(net(TwoInputs), [[left, right]], recipe=MINMAX), expected)


def test_a_backend_sets_what_it_needs():
    model = mmptq.quantize(net(), images(1), recipe=MINMAX, backend='openvino')
    assert model.conv.weight_quantizer.scheme.signed
    with pytest.raises(QuantizationError, match='3 bits, and npu runs activations of 8'):
        cfg = dict(weight=dict(bits=8), act=dict(bits=3))
        mmptq.quantize(net(), images(1), cfg, MINMAX, backend=dict(name='npu'))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(batches=[]), 'batches is empty'),
        (dict(batches=iter([])), 'batches is empty'),
        (dict(batches=torch.zeros(1, 3, 8, 8)), r'batches is a Tensor: .* \[batch\]'),
        (dict(batches=dict(x=1)), 'batches is a dict: give an iterable'),
        (dict(batches=3), 'batches is a int: give an iterable'),
        (dict(batches=[torch.zeros(1, 3, 8, 8), 'a.jpg']), 'batch 1 is a str: give a tensor'),
        (dict(batches=[torch.full((1, 3, 8, 8), torch.nan)]), 'batch 0 contains NaN or Inf'),
        (dict(batches=[torch.full((1, 3, 8, 8), torch.inf)]), 'batch 0 contains NaN or Inf'),
        (dict(batches=[torch.zeros(0, 3, 8, 8)]), 'batch 0 is empty'),
        (dict(batches=[images(2)]), 'the model cannot run the first batch .TypeError'),
        (dict(batches=[torch.zeros(1, 3, 8, 8).double()]), 'cannot run the first batch .RuntimeE'),
        (dict(batches=TensorDataset(torch.zeros(1, 3))), r'TensorDataset.*DataLoader\(dataset'),
        (dict(batches=[torch.zeros(1, 3, 8, 8).numpy()]), 'batch 0 is a ndarray: give a tensor'),
        (dict(model='net'), 'model is a str: give an nn.Module'),
        (dict(model=nn.Identity()), 'no layer is quantized: .* none of the 0 layers that can be'),
        (
            dict(model=torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 1)))),
            r"no layer is quantized \('0' is a RecursiveScriptModule\)",
        ),
        (dict(scheme='int9'), "there is no scheme 'int9': use one of .*int8"),
        (dict(recipe='magic'), "there is no recipe 'magic': use one of .*mse"),
        (dict(backend='abacus'), "there is no backend 'abacus'"),
        (dict(scheme=dict(weigth={})), "unknown key 'weigth'"),
        (dict(scheme=None), 'scheme is None: give a name, or a config'),
        (dict(scheme=8), r'quantizer=8 cannot be used: write dict\(weight='),
        (dict(scheme=dict(weight=8)), r'quantizer.weight=8 cannot be used: write dict\(bits=8\)'),
        (dict(recipe=None), 'recipe is None'),
        (dict(recipe=3), 'stages=3 cannot be used: write'),
        (dict(recipe=['Calibrator']), r"holds 'Calibrator': write dict\(type='Calibrator'\)"),
        (dict(recipe='detptq'), 'LpSelector compares the outputs of a detector head'),
        (dict(recipe='brecq'), 'Reconstructor compares the outputs of a detector head'),
        (dict(recipe=[*MINMAX, dict(type='CrossLayerEqualization')]), 'stale'),
    ],
)
def test_what_does_not_fit_is_said_in_one_sentence(options, message):
    arguments = dict(model=net(), batches=images(1), recipe=MINMAX) | options
    before = copy.deepcopy(arguments['model'])
    with pytest.raises(QuantizationError, match=message) as error:
        mmptq.quantize(**arguments)
    assert '\n' not in str(error.value)
    if isinstance(before, nn.Module):
        assert same(before, arguments['model'])


def test_a_model_is_quantized_once(tmp_path):
    model = mmptq.quantize(net(), images(1), recipe=MINMAX)
    with pytest.raises(QuantizationError, match='quantized already'):
        mmptq.quantize(model, images(1), recipe=MINMAX)


@pytest.fixture
def detector(tiny):
    from mmdet.registry import MODELS
    from mmengine.registry import init_default_scope

    path, checkpoint = tiny
    cfg = Config.fromfile(path)
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model)
    model.load_state_dict(torch.load(checkpoint, weights_only=True)['state_dict'])
    return path, cfg, model


def test_a_detector_gets_the_bits_of_the_loop(detector, tmp_path):
    from mmptq.engine import load_quantized
    from mmptq.ptq.calibration_data import calibration_loader

    path, cfg, model = detector
    float_model = copy.deepcopy(model)
    run_tool('ptq', path, '--cfg-options', 'train_cfg.val_float=False')
    loader = calibration_loader(cfg, 0, 4)
    mmptq.quantize(model, loader, cfg.quantizer, cfg.stages, tmp_path / 'api')
    assert same(load_quantized(float_model, path.parent / 'work/quantized.pth'), model)
    assert (tmp_path / 'api/quantized.pth').is_file()


def test_a_detector_takes_the_batches_of_its_data_loader(detector):
    from mmdet.testing import demo_mm_inputs

    _, cfg, model = detector
    with pytest.raises(QuantizationError, match="batch 0 is a Tensor: RetinaNet takes .*'inputs'"):
        mmptq.quantize(model, [torch.zeros(1, 3, 64, 64)])
    batch = demo_mm_inputs(1, [[3, 64, 64]])
    bad = dict(batch, inputs=[torch.full((3, 64, 64), torch.nan)])
    with pytest.raises(QuantizationError, match=r'batch 1 \(.*\) contains NaN'):
        mmptq.quantize(model, [batch, bad])
    recipe = [*MINMAX, dict(type='Distillation', num_iters=2, batch_size=1)]
    recipe[1]['loss'] = dict(type='DetectionOutputLoss', score_thr=0.0)
    mmptq.quantize(model, [batch], recipe=recipe)
    assert not hasattr(batch['data_samples'][0], 'pred_instances')

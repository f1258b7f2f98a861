"""Float checkpoints of any origin: what is checked is what is loaded."""

from collections import OrderedDict

import onnx
import pytest
import torch
from helpers import run_tool
from mmengine.config import Config
from mmengine.logging import MMLogger
from torch import nn

from mmptq.engine import load_model
from mmptq.engine.float_state import float_state, load_float
from mmptq.quantization import QuantizationError


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


def prefixed(state: OrderedDict, prefix: str) -> OrderedDict:
    """A state dict under a prefix, with the versions of its modules, as torch makes one."""
    result = OrderedDict((prefix + key, value) for key, value in state.items())
    versions = getattr(state, '_metadata', {})
    result._metadata = OrderedDict(
        ((prefix + key).removesuffix('.'), value) for key, value in versions.items()
    )
    return result


def inside(state: OrderedDict, part: str, word: str) -> OrderedDict:
    return OrderedDict((key.replace(part, part + word, 1), v) for key, v in state.items())


FORMS = {
    'state_dict': lambda s: dict(state_dict=s, meta={}),
    'bare': lambda s: s,
    'model': lambda s: dict(model=s, epoch=3),
    'DataParallel': lambda s: dict(state_dict=prefixed(s, 'module.')),
    'DataParallel of DataParallel': lambda s: dict(state_dict=prefixed(s, 'module.module.')),
    'compiled': lambda s: dict(state_dict=prefixed(s, '_orig_mod.')),
    'compiled DataParallel': lambda s: dict(state_dict=prefixed(s, 'module._orig_mod.')),
    'activation checkpointing': lambda s: inside(s, '0.', '_checkpoint_wrapped_module.'),
    'semi-supervised': lambda s: dict(
        state_dict={
            **prefixed(
                {k: v + 1 if v.is_floating_point() else v for k, v in s.items()}, 'student.'
            ),
            **prefixed(s, 'teacher.'),
        }
    ),
    'tracker': lambda s: dict(state_dict=prefixed(s, 'detector.')),
    'lightning': lambda s: dict(state_dict=prefixed(s, 'model.'), hyper_parameters={}),
    'averaged': lambda s: dict(
        state_dict=s,
        ema_state_dict=prefixed({k: v * 0 for k, v in s.items()}, 'module.'),
    ),
    'averaged only': lambda s: dict(
        ema_state_dict={'steps': torch.tensor(3), **prefixed(s, 'module.')}
    ),
    'no counters': lambda s: {k: v for k, v in s.items() if 'num_batches' not in k},
}


@pytest.mark.parametrize('form', FORMS)
def test_the_same_weights_of_every_form(form):
    source, target = net(), net()
    source[1].running_mean.normal_()
    checkpoint = FORMS[form](source.state_dict())
    load_float(target, checkpoint)
    expected, found = source.state_dict(), target.state_dict()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    # A runner loads it again, with its own function.
    assert set(expected) - {'1.num_batches_tracked'} <= set(checkpoint['state_dict'])


@pytest.mark.parametrize('kind', [torch.float16, torch.bfloat16, torch.float64])
def test_types_become_those_of_the_model(kind):
    source, target = net(), net()
    state = {k: v.to(kind) if v.is_floating_point() else v for k, v in source.state_dict().items()}
    loaded = float_state(dict(state_dict=state), target)
    assert loaded['0.weight'].dtype == torch.float32
    assert loaded['1.num_batches_tracked'].dtype == torch.int64
    load_float(target, dict(state_dict=state))
    assert torch.equal(target[0].weight, source[0].weight.to(kind).float())


def test_a_module_of_the_name_of_a_wrapper():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = nn.Linear(2, 2)
            self.modules_ = nn.Linear(2, 2)

    source, target = Net(), Net()
    load_float(target, dict(state_dict=prefixed(source.state_dict(), 'module.')))
    assert torch.equal(target.module.weight, source.module.weight)
    assert torch.equal(target.modules_.weight, source.modules_.weight)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda s: s.pop('0.bias'), "lacks 1 keys of the model, the first is '0.bias'"),
        (
            lambda s: s.update({'2.weight': torch.zeros(4, 2, 1, 1)}),  # as many numbers
            "another shape for 1 keys of the model, the first is '2.weight'",
        ),
        (lambda s: s.clear(), r"holds no weights \(its keys are 'state_dict'\)"),
        (
            lambda s: (
                s.update(
                    {p + k: v for p in ('a.', 'b.') for k, v in net().state_dict().items()}
                    | {'0.weight': s['0.weight']}
                )
                or s.pop('0.bias')
            ),
            'holds several models that fit, under a., b.',
        ),
    ],
)
def test_what_does_not_fit(change, message):
    state = net().state_dict()
    change(state)
    with pytest.raises(QuantizationError, match=message):
        load_float(net(), dict(state_dict=state))


def test_what_is_taken_is_said(monkeypatch):
    said = []
    monkeypatch.setattr(MMLogger, 'warning', lambda self, text: said.append(text))
    load_float(net(), FORMS['semi-supervised'](net().state_dict()))
    load_float(net(), dict(state_dict={**net().state_dict(), 'extra': torch.zeros(1)}))
    assert said == [
        "the checkpoint is of a larger model: its weights under 'teacher.' are taken, those under "
        'student. are not',
        '1 keys of the checkpoint are not used: extra',
    ]


def test_versions_of_modules_follow_their_names():
    """Without them mmdet3d permutes the kernels of sparse convolutions."""
    spconv = pytest.importorskip('spconv.pytorch')
    pytest.importorskip('mmdet3d.models')
    for strip in (False, True):
        source, target = (nn.Sequential(spconv.SubMConv3d(4, 4, 3)) for _ in range(2))
        state = prefixed(source.state_dict(), 'module.')
        if strip:
            state = dict(state)
        load_float(target, dict(state_dict=state))
        assert torch.equal(source[0].weight, target[0].weight)


@pytest.fixture(scope='session')
def exported(tiny_float, make_once):
    """The float network of the tiny detector as a file."""

    def make(folder):
        files = (tiny_float / 'tiny.py', tiny_float / 'float.pth')
        run_tool('export', *files, '--float', '--out', folder / 'float.onnx')

    return make_once('tiny_exported', make) / 'float.onnx'


def graph_of(path) -> bytes:
    """What a file computes; its metadata name the checkpoint."""
    return onnx.load(path).graph.SerializeToString()


SLOW = [pytest.param(form, marks=pytest.mark.slow) for form in ('DataParallel', 'bare', 'model')]


@pytest.mark.parametrize('form', ['semi-supervised', *SLOW])
def test_all_tools_take_the_same_checkpoint(tiny, tiny_quantized, exported, tmp_path, form):
    path, checkpoint = tiny
    content = torch.load(checkpoint, weights_only=True)['state_dict']
    other = tmp_path / 'other.pth'
    torch.save(FORMS[form](content), other)
    options = ('--cfg-options', 'train_cfg.val_float=False')
    run_tool('ptq', path, other, '--work-dir', tmp_path, *options)
    run_tool('export', path, other, '--float', '--out', tmp_path / 'float.onnx')
    run_tool('test', path, other, '--work-dir', tmp_path)
    assert graph_of(tmp_path / 'float.onnx') == graph_of(exported)
    files = (tiny_quantized / 'work/quantized.pth', tmp_path / 'quantized.pth')
    states = [torch.load(file, weights_only=True)['state_dict'] for file in files]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    model = load_model(Config.fromfile(path), other, quantized=False)
    assert all(torch.equal(value, content[key]) for key, value in model.state_dict().items())

"""Conversion of the weights of LSTR's authors."""

import importlib.util
import sys

import pytest
import torch
from helpers import ROOT
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

TOOL = ROOT / 'tools/model_converters/lstr.py'


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('convert_lstr', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def model():
    DefaultScope.get_instance('lanes', scope_name='mmdet')
    return MODELS.build(Config.fromfile(ROOT / 'configs/_base_/models/lstr_r18s.py').model)


def authors_weights() -> dict:
    """Some of the authors' parameters, with recognisable numbers."""
    attention = 'module.transformer.decoder.layers.1.multihead_attn'
    return {
        'total_ops': torch.zeros(1),
        'module.layer2.0.downsample.0.total_params': torch.zeros(1),
        'module.layer2.0.downsample.0.weight': torch.rand(32, 16, 1, 1),
        f'{attention}.in_proj_weight': torch.arange(96.0)[:, None].expand(96, 32),
        f'{attention}.out_proj.bias': torch.rand(32),
        'module.transformer.encoder.layers.0.linear2.weight': torch.rand(32, 128),
        'module.transformer.decoder.norm.bias': torch.rand(32),
        'module.query_embed.weight': torch.rand(7, 32),
    }


def test_names_and_the_split_of_attention(tool):
    theirs = authors_weights()
    ours = tool.convert(theirs)
    attention = 'lane_head.transformer.decoder.1.cross_attn'
    assert set(ours) == {
        'backbone.bn1.num_batches_tracked',
        'backbone.layer2.0.downsample.0.weight',
        f'{attention}.query_proj.weight',
        f'{attention}.key_proj.weight',
        f'{attention}.value_proj.weight',
        f'{attention}.out_proj.bias',
        'lane_head.transformer.encoder.0.ffn.layers.1.weight',
        'lane_head.transformer.norm.bias',
        'lane_head.query_embed.weight',
    }
    for start, part in ((0, 'query'), (32, 'key'), (64, 'value')):
        weight = ours[f'{attention}.{part}_proj.weight']
        assert weight.shape == (32, 32) and weight[:, 0].tolist() == list(range(start, start + 32))
    assert torch.equal(ours['lane_head.query_embed.weight'], theirs['module.query_embed.weight'])


def test_fills_the_whole_model(tool, model, real_data):
    state = tool.convert(tool.read(real_data / 'weights/lstr_tusimple.pth'))
    model.load_state_dict(state, strict=True)
    assert sum(parameter.numel() for parameter in model.parameters()) == 765786


def test_command_writes_a_checkpoint(tool, tmp_path, monkeypatch, capsys):
    source, target = tmp_path / 'theirs.pth', tmp_path / 'out' / 'ours.pth'
    torch.save(authors_weights(), source)
    monkeypatch.setattr(sys, 'argv', ['lstr.py', str(source), str(target)])
    tool.main()
    assert '9 tensors' in capsys.readouterr().out
    checkpoint = torch.load(target, weights_only=True)
    assert set(checkpoint) == {'state_dict', 'meta'} and len(checkpoint['state_dict']) == 9
    assert [path.name for path in target.parent.iterdir()] == ['ours.pth']


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'rubbish', 'is no file of weights'),
        ({'a': 1}, "is no state dict: give the weights of LSTR's authors"),
        (
            {'backbone.stem.weight': torch.zeros(1)},
            "'backbone.stem.weight' is no parameter of LSTR",
        ),
        (None, 'No such file'),
    ],
)
def test_bad_input_in_one_sentence(tool, tmp_path, monkeypatch, content, message):
    source, target = tmp_path / 'theirs.pth', tmp_path / 'ours.pth'
    if isinstance(content, bytes):
        source.write_bytes(content)
    elif content is not None:
        torch.save(content, source)
    monkeypatch.setattr(sys, 'argv', ['lstr.py', str(source), str(target)])
    with pytest.raises(SystemExit, match=message):
        tool.main()
    assert not target.exists()

"""Quantized checkpoints: plain data, strict loading, the same bits after a reload."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers import QUANTIZER, ROOT, run_tool
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmptq.engine import load_quantized
from mmptq.engine.checkpoint import check_keys, read_checkpoint, save_quantized, unpacked_state
from mmptq.quantization import (
    QuantizationError,
    QuantPlan,
    apply_plan,
    choose_qparams,
    freeze,
    make_plan,
    model_size,
    quantized_layers,
)
from mmptq.report import read_record


@pytest.fixture
def quantized(tiny_quantized, tmp_path):
    """Config and a copy of the checkpoint that tools/ptq.py wrote."""
    cfg = Config.fromfile(tiny_quantized / 'tiny.py')
    cfg.work_dir = str(tmp_path / 'work')
    return cfg, Path(shutil.copy(tiny_quantized / 'work/quantized.pth', tmp_path))


def test_reload_without_a_runner(quantized):
    cfg, checkpoint = quantized
    init_default_scope('mmdet')
    models = [load_quantized(MODELS.build(cfg.model), checkpoint) for _ in range(2)]
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        first, again = (model(x, mode='tensor') for model in models)
    assert all(torch.equal(a, b) for a, b in zip(first[0], again[0], strict=True))
    layer = quantized_layers(models[0])['backbone.layer1.0.conv1']
    codes = layer.weight / layer.weight_quantizer.scale.view(-1, 1, 1, 1)
    torch.testing.assert_close(codes, codes.round(), rtol=0, atol=1e-3)


def test_missing_and_unexpected_keys_are_named(quantized):
    cfg, path = quantized
    content = torch.load(path, weights_only=True)
    for change, message in (
        (lambda s: s.pop('bbox_head.retina_cls.bias'), "lacks 1 keys .*'bbox_head.retina_cls"),
        (lambda s: s.pop('neck.fpn_convs.0.conv.packed_weight'), "lacks 'neck.*packed_weight'"),
        (lambda s: s.update(extra=torch.zeros(1)), "1 unexpected keys, the first is 'extra'"),
    ):
        state = dict(content['state_dict'])
        change(state)
        torch.save(dict(content, state_dict=state), path)
        cfg.load_from = str(path)
        with pytest.raises(QuantizationError, match=message):
            Runner.from_cfg(cfg).test()
        init_default_scope('mmdet')
        with pytest.raises(QuantizationError, match=message):
            load_quantized(MODELS.build(cfg.model), path)


def test_the_file_holds_no_float_weights(quantized):
    """A tool that loads it without mmptq finds no quantized weight under the name it knows."""
    cfg, path = quantized
    state = torch.load(path, weights_only=True)['state_dict']
    assert state['backbone.conv1.packed_weight'].dtype == torch.int8
    assert state['backbone.conv1.input_quantizer.zero_point'].dtype == torch.uint8
    init_default_scope('mmdet')
    model = load_quantized(MODELS.build(cfg.model), path)
    for name in quantized_layers(model):
        assert f'{name}.weight' not in state
    dense, own = unpacked_state(path), model.state_dict()
    assert dense.keys() == own.keys()
    assert all(same(dense[key], own[key]) for key in own)


def same(first, second):
    return first.dtype == second.dtype and torch.equal(first, second)


def test_a_file_of_version_1_gives_the_same_model(quantized, tmp_path):
    """It held float weights on the grid, int32 zero points and the same plan."""
    cfg, path = quantized
    content = read_checkpoint(path)
    assert 'packed_weights' not in content['meta']
    assert content['meta']['quantizer']['version'] == 2
    content['meta']['quantizer']['version'] = 1
    torch.save(content, tmp_path / 'old.pth')
    init_default_scope('mmdet')
    models = [load_quantized(MODELS.build(cfg.model), p) for p in (path, tmp_path / 'old.pth')]
    states = [model.state_dict() for model in models]
    assert all(same(states[0][key], states[1][key]) for key in states[0])
    content['meta']['quantizer']['version'] = 3
    torch.save(content, tmp_path / 'new.pth')
    with pytest.raises(QuantizationError, match='version 3 .* reads versions up to 2'):
        load_quantized(MODELS.build(cfg.model), tmp_path / 'new.pth')


def test_published_checkpoint_gives_the_same_model(quantized, tmp_path):
    cfg, path = quantized
    run_tool('publish_model', path, tmp_path / 'model.pth')
    assert (tmp_path / 'model.pth').stat().st_size < path.stat().st_size
    init_default_scope('mmdet')
    models = [load_quantized(MODELS.build(cfg.model), p) for p in (path, tmp_path / 'model.pth')]
    states = [model.state_dict() for model in models]
    assert all(same(states[0][key], states[1][key]) for key in states[0])
    meta = read_checkpoint(tmp_path / 'model.pth')['meta']
    assert meta.keys() == {'dataset_meta', 'quantizer', 'mmptq_version'}


def test_the_file_is_as_small_as_its_parts(tmp_path):
    """A RetinaNet of the demo in its full width: 7.9 MB of float32, about 2 MB in the file."""
    cfg = Config.fromfile(ROOT / 'configs/demo/retinanet_r18_fpn_demo-coco.py')
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model).eval()
    plan = make_plan(model, QUANTIZER, lambda: model(torch.randn(1, 3, 64, 64), mode='tensor'))
    apply_plan(model, plan)
    for layer in quantized_layers(model).values():
        rows = layer.weight.detach().flatten(1)
        slot = layer.weight_quantizer
        slot.set_qparams(*choose_qparams(rows.amin(1), rows.amax(1), slot.scheme))
    freeze(model)
    path = tmp_path / 'quantized.pth'
    save_quantized(model, plan, path, {}, cfg.pretty_text)
    float_bytes, quantized_bytes = model_size(model)
    assert 3.8 < float_bytes / quantized_bytes < 4
    assert quantized_bytes < path.stat().st_size < 1.04 * quantized_bytes


def test_tensors_of_any_kind_are_saved_small(tmp_path):
    """Small tensors, views of large ones, tensors under two names, scalars and empty ones."""
    torch.manual_seed(0)
    net = torch.nn.Linear(40, 40)
    large = torch.randn(100, 2000)
    buffers = dict(
        part=large[3],
        column=large[:, 5],
        transposed=large[:20, :20].t(),
        same=net.bias.detach(),
        count=torch.tensor(3),
        empty=torch.zeros(0, 4),
        flags=torch.tensor([True, False]),
    )
    for name, buffer in buffers.items():
        net.register_buffer(name, buffer)
    expected = {key: value.clone() for key, value in net.state_dict().items()}
    save_quantized(net, QuantPlan(), tmp_path / 'a.pth', {}, '')
    assert (tmp_path / 'a.pth').stat().st_size < 4 * (40 * 41 + 2000 + 100 + 400) + 6000
    state = unpacked_state(tmp_path / 'a.pth')
    assert state.keys() == expected.keys()
    for key, value in expected.items():
        assert state[key].shape == value.shape and same(state[key], value), key


def test_float_checkpoint_is_tested_as_it_is(tiny, tiny_quantized, tmp_path):
    path, checkpoint = tiny
    run_tool('test', path, checkpoint, '--out', tmp_path / 'metrics.json')
    expected = read_record(tiny_quantized / 'work', 'result')['float']
    assert json.loads((tmp_path / 'metrics.json').read_text()) == expected


def test_load_quantized_refuses_a_float_checkpoint(tiny):
    path, checkpoint = tiny
    init_default_scope('mmdet')
    model = MODELS.build(Config.fromfile(path).model)
    with pytest.raises(QuantizationError, match='is not quantized: quantize it'):
        load_quantized(model, checkpoint)


def test_misshapen_keys_are_named():
    model = torch.nn.Linear(3, 2)
    with pytest.raises(QuantizationError, match="another shape for 1 keys .*'weight'"):
        check_keys(model, {'weight': torch.zeros(2, 4), 'bias': torch.zeros(2)}, strict=True)


def test_keys_of_a_distributed_wrapper_are_known():
    model = torch.nn.Linear(3, 2)
    state = {f'module.{key}': value for key, value in model.state_dict().items()}
    assert check_keys(model, state, strict=True) == []


def test_not_a_checkpoint(tmp_path):
    torch.save([1, 2], tmp_path / 'list.pth')
    with pytest.raises(QuantizationError, match='no state dict'):
        read_checkpoint(tmp_path / 'list.pth')
    with pytest.raises(QuantizationError, match='does not exist'):
        read_checkpoint(tmp_path / 'none.pth')

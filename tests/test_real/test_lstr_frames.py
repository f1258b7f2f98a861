"""LSTR with its authors' weights on real frames: what others computed, scores, and quantized."""

import json

import pytest
import torch
from helpers import ROOT, run_tool
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope

from mmptq.lanes.geometry.lane_points import lane_xs
from mmptq.report import read_record

CONFIG = ROOT / 'configs/lane/lstr_r18s_tusimple-frames.py'


@pytest.fixture(scope='module')
def float_checkpoint(real_data, tmp_path_factory):
    """The authors' weights, converted; MMPTQ_DATA names the real data meanwhile."""
    path = tmp_path_factory.mktemp('lstr') / 'lstr.pth'
    source = real_data / 'weights/lstr_tusimple.pth'
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('MMPTQ_DATA', str(real_data))
        run_tool('model_converters/lstr', source, path)
        yield path


def test_reference_outputs_and_lanes(real_data, float_checkpoint):
    reference = json.loads((real_data / 'tusimple/lstr_reference_outputs.json').read_text())
    init_default_scope('mmdet')
    cfg = Config.fromfile(CONFIG)
    model = MODELS.build(cfg.model).eval()
    state = torch.load(float_checkpoint, weights_only=True)['state_dict']
    model.load_state_dict(state, strict=True)
    seen = 0
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        dataset = DATASETS.build(loader.dataset)
        for index in range(len(dataset)):
            data = model.data_preprocessor(pseudo_collate([dataset[index]]), False)
            expected = reference['frames'][
                '/'.join(data['data_samples'][0].img_path.split('/')[-2:])
            ]
            check_frame(model, data, expected, reference['h_samples'])
            seen += 1
    assert seen == len(reference['frames']) == 20


@torch.no_grad()
def check_frame(model, data, expected, rows):
    """Raw outputs and lanes of one frame against the reference."""
    outputs = model(**data, mode='tensor')
    for name in ('logits', 'curves'):
        assert torch.allclose(outputs[name][0], torch.tensor(expected[name]), rtol=0, atol=1e-3)
    (sample,) = model(**data, mode='predict')
    lanes = [lane_xs(lane.double().numpy(), rows) for lane in sample.pred_lanes]
    found = sorted(torch.tensor(lanes).nan_to_num(-2).tolist())
    assert len(found) == len(expected['lanes_x'])
    for ours, theirs in zip(found, sorted(expected['lanes_x']), strict=True):
        assert ours == pytest.approx(theirs, abs=0.1)


@pytest.mark.parametrize(('split', 'accuracy'), [('test', 0.9473), ('train', 0.9760)])
def test_accuracy_by_the_stock_test_loop(float_checkpoint, split, accuracy, tmp_path):
    out = tmp_path / 'metrics.json'
    prefix = 'test_dataloader.dataset.data_prefix'
    options = (f'{prefix}.img_path={split}_images', f'{prefix}.lane_path={split}_labels')
    arguments = ('--work-dir', tmp_path, '--out', out, '--cfg-options', *options)
    run_tool('test', CONFIG, float_checkpoint, *arguments)
    assert json.loads(out.read_text())['tusimple/accuracy'] == pytest.approx(accuracy, abs=2e-4)


SPECIFIC = {f'lane_head.specific_embed.layers.{i}' for i in range(3)}
SHARED = {f'lane_head.shared_embed.layers.{i}' for i in range(3)}
CASES = [
    # recipe, scheme, most that it may lose (measured: 0, 0, 0.027), layers left float
    ('minmax', 'int8', 0.005, SPECIFIC),
    ('bias_correction', 'int8', 0.005, set()),
    ('mse', 'w4a4', 0.04, SPECIFIC | SHARED),
]


@pytest.mark.slow
@pytest.mark.parametrize(('recipe', 'scheme', 'loss', 'left'), CASES)
def test_policy(float_checkpoint, recipe, scheme, loss, left, tmp_path):
    leaf = ROOT / f'configs/{recipe}/lstr_r18s_{recipe}_{scheme}_tusimple-frames.py'
    names = ('--scheme', scheme, '--recipe', recipe)
    arguments = (leaf, float_checkpoint) if leaf.is_file() else (CONFIG, float_checkpoint, *names)
    run_tool('ptq', *arguments, '--work-dir', tmp_path)
    result = read_record(tmp_path, 'result')
    before, after = (result[key]['tusimple/accuracy'] for key in ('float', 'quantized'))
    assert before == pytest.approx(0.9473, abs=2e-4)
    assert after > before - loss
    rows = json.loads((tmp_path / 'coverage.json').read_text())
    parts = ('LayerNorm', 'softmax', 'MultiheadAttention')
    floats = {row['layer'] for row in rows if 'float' in (row['weight'], row['input'])}
    floats -= {row['layer'] for row in rows if row['kind'].startswith(parts)}
    assert floats == left | {'lane_head.query_embed'}


def test_culane_weights_with_three_logits_load_strictly_and_score(real_data, tmp_path, monkeypatch):
    monkeypatch.setenv('MMPTQ_DATA', str(real_data))
    config, path = ROOT / 'configs/lane/lstr_r18s_culane-frames.py', tmp_path / 'lstr_culane.pth'
    run_tool('model_converters/lstr', real_data / 'weights/lstr_culane.pth', path)
    init_default_scope('mmdet')
    state = torch.load(path, weights_only=True)['state_dict']
    MODELS.build(Config.fromfile(config).model).load_state_dict(state, strict=True)
    run_tool('test', config, path, '--work-dir', tmp_path, '--out', tmp_path / 'metrics.json')
    found = json.loads((tmp_path / 'metrics.json').read_text())
    counts = [found[f'culane/{name}'] for name in ('TP', 'FP', 'FN')]
    assert counts == [30, 5, 3] and found['culane/F1'] == pytest.approx(60 / 68)

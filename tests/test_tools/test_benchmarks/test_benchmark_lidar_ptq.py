"""The cells and tables of the LiDAR benchmark; the runs themselves are those of tools/ptq.py."""

import argparse
import importlib.util
import json

import pytest
from helpers import ROOT, run_tool, write_result

FILE = ROOT / 'tools/benchmarks/benchmark_lidar_ptq.py'
spec = importlib.util.spec_from_file_location(
    'benchmark', ROOT / 'tools/benchmarks/benchmark_lidar_ptq.py'
)
benchmark = importlib.util.module_from_spec(spec)
spec.loader.exec_module(benchmark)

ARGS = argparse.Namespace(seeds=[0, 1], num_iters=7, num_samples=3)


@pytest.mark.parametrize('name', list(benchmark.GROUPS))
@pytest.mark.parametrize('scheme', list(benchmark.RECIPES))
def test_every_cell_has_a_config(name, scheme, monkeypatch):
    monkeypatch.delenv('MMPTQ_DATA', raising=False)
    group = benchmark.GROUPS[name]
    bits = {'int8': (8, 8), 'w4a8': (4, 8), 'w4a4': (4, 4)}[scheme]
    for recipe in benchmark.RECIPES[scheme]:
        cfg = benchmark.cell_config(group, scheme, recipe, 1, ARGS)
        assert (cfg.quantizer.weight.bits, cfg.quantizer.act.bits) == bits
        assert cfg.randomness.seed == 1
        assert cfg.calibration.num_samples == 3
        learned = [stage for stage in cfg.stages if stage.type == 'Reconstructor']
        assert bool(learned) == (recipe not in ('entropy', 'minmax', 'lidar_ptq_grid'))
        assert all(stage.num_iters == 7 for stage in learned)
        assert cfg.val_evaluator[1].type == 'RecallByDistanceMetric'


def write_cell(out, recipe, seed, value, before=None):
    metrics = {benchmark.DEMO + 'mAP': value, benchmark.DEMO + 'NDS': 2 * value}
    metrics |= {'recall/0-30m': 0.9, 'recall/num_0-30m': 5}
    folder = out / 'pillar/int8' / recipe / str(seed)
    result = dict(float=before and metrics | before, quantized=metrics, seconds=10.0 + 2 * seed)
    write_result(folder, result)


def test_table_has_means_over_seeds_and_float_first(tmp_path, capsys):
    write_cell(tmp_path, 'minmax', 0, 0.3, before={benchmark.DEMO + 'mAP': 0.5})
    write_cell(tmp_path, 'minmax', 1, 0.4)
    write_cell(tmp_path, 'lidar_ptq', 0, 0.45)
    run_tool('benchmark_lidar_ptq', '--table', '--out', tmp_path)
    rows = json.loads((tmp_path / 'tables.json').read_text())['pillar']['int8']
    assert [row['recipe'] for row in rows] == ['float', 'minmax', 'lidar_ptq']
    assert rows[0]['mAP'] == '0.5000'
    assert rows[1] == {
        'recipe': 'minmax',
        'seeds': 2,
        'mAP': '0.3500 ± 0.0707',
        'NDS': '0.7000',
        'recall 0-30m': '0.9000',
        'seconds': '11',
    }
    assert '**pillar, int8**' in (tmp_path / 'tables.md').read_text()
    assert 'lidar_ptq' in capsys.readouterr().out


def test_finished_cells_are_not_run_again(tmp_path):
    write_cell(tmp_path, 'minmax', 0, 0.3)
    folder = tmp_path / 'pillar/int8/minmax/0'
    result = benchmark.run_cell(folder, None)
    assert result['quantized'][benchmark.DEMO + 'mAP'] == 0.3


def test_the_first_cell_of_a_group_evaluates_the_float_model(tmp_path, monkeypatch):
    seen = []

    def run_cell(folder, cfg):
        seen.append(cfg.train_cfg.val_float)
        before = {benchmark.DEMO + 'mAP': 0.5} if cfg.train_cfg.val_float else None
        write_cell(tmp_path, folder.parent.name, int(folder.name), 0.3, before)

    monkeypatch.setattr(benchmark, 'run_cell', run_cell)
    args = ('pillar', '--schemes', 'int8', '--recipes', 'entropy', 'lidar_ptq', '--seeds', '0')
    monkeypatch.setattr('sys.argv', ['benchmark_lidar_ptq', *args, '--out', str(tmp_path)])
    benchmark.main()
    assert seen == [True, False]
    rows = json.loads((tmp_path / 'tables.json').read_text())['pillar']['int8']
    assert [row['recipe'] for row in rows] == ['float', 'entropy', 'lidar_ptq']


def test_unknown_group_is_named():
    with pytest.raises(SystemExit):
        run_tool('benchmark_lidar_ptq', 'nothing')

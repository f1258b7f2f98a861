"""Tables of benchmark_peers.py and benchmark_deployed.py, and what they run."""

import subprocess

import pytest
from helpers import load_tool


def test_metric_and_time_of_a_file_stand_in_one_row():
    peers = load_tool('benchmark_peers')
    pairs = {'float, a': ('float.onnx', 'a'), 'ours, a': ('ours.onnx', 'a')}
    metrics = {'float, a': {'coco/bbox_mAP': 0.5, 'x': 1}, 'ours, a': {'coco/bbox_mAP': 0.45}}
    time = {'integer layers': 3, 'float layers': 1, 'median ms': 2.0, 'p95 ms': 3.0}
    times = {('ours.onnx', 'a'): time | {'ratio': 2.5}, ('float.onnx', 'a'): time | {'ratio': 1.0}}
    first, second = peers.table_rows(pairs, metrics, times)
    assert first['coco/bbox_mAP'] == '0.5000' and first['ratio'] == '1.0'
    assert second == {
        'file': 'ours, a',
        'coco/bbox_mAP': '0.4500',
        'integer layers': '3',
        'float layers': '1',
        'median ms': '2.0',
        'ratio': '2.5',
    }


def test_deployed_beside_simulated_and_what_is_refused():
    deployed = load_tool('benchmark_deployed')
    cell = {'float': {'culane/F1': 0.9}, 'quantized': {'culane/F1': 0.89}}
    cells = {
        'configs/a.py': {
            'onnxruntime': dict(cell, deployed={'culane/F1': 0.88}),
            'openvino': dict(cell, float={}, refused='error: no such operator'),
        }
    }
    first, second = deployed.table_rows(cells)
    assert first['model'] == 'a' and first['metric'] == 'F1' and first['float'] == '0.9000'
    assert first['deployed'] == '0.8800' and first['difference'] == '-0.0100'
    assert second['deployed'] == 'refused' and second['simulated'] == '0.8900'


def test_a_tool_that_fails_is_quoted(tmp_path):
    module = load_tool('run_tool')
    with pytest.raises(module.ToolError, match='test.py nowhere.py a.pth failed:') as error:
        module.run_tool('test', 'nowhere.py', 'a.pth')
    assert error.value.last_line == "error: config 'nowhere.py' does not exist: check the path"


def test_words_of_a_tool_go_into_its_log(tmp_path, monkeypatch):
    module = load_tool('run_tool')

    def run(command, stdout, stderr):
        stdout.write(f'{command[-1]}\nfailed')
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(subprocess, 'run', run)
    with pytest.raises(module.ToolError) as error:
        module.run_tool('ptq', 7, log=tmp_path / 'log.txt')
    assert error.value.last_line == 'failed'
    assert (tmp_path / 'log.txt').read_text() == '7\nfailed'

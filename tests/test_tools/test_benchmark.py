"""tools/benchmark.py on tiny files."""

import json

import pytest
from deploy_models import exported
from helpers import run_tool


def test_times_files_side_by_side(tmp_path, capsys):
    exported('onnxruntime', tmp_path / 'a.onnx', dynamic=True)
    exported('openvino', tmp_path / 'b.onnx', dynamic=True)
    files = [f'{tmp_path}/a.onnx:onnxruntime', f'{tmp_path}/b.onnx:openvino']
    files.append(f'{tmp_path}/b.onnx:onnxruntime')
    out = tmp_path / 'table.json'
    options = ['--size', '32', '48', '--threads', '1', '--rounds', '3', '--out', out]
    run_tool('benchmark', '--files', *files, *options)
    rows = json.loads(out.read_text())
    assert [row['engine'] for row in rows] == ['onnxruntime', 'openvino', 'onnxruntime']
    assert [row['ratio'] for row in rows][:2] == [1.0, 1.0]  # the first file of its engine
    assert all(0 < row['median ms'] <= row['p95 ms'] for row in rows)
    assert rows[0]['integer layers'] == 8
    assert '(1, 3, 32, 48), 1 threads, 3 rounds' in capsys.readouterr().out


def test_open_sizes_need_a_size(tmp_path):
    exported('openvino', tmp_path / 'a.onnx', dynamic=True)
    with pytest.raises(SystemExit, match='name one --size for all'):
        run_tool('benchmark', '--files', f'{tmp_path}/a.onnx:openvino')
    with pytest.raises(SystemExit, match='write FILE:ENGINE'):
        run_tool('benchmark', '--files', f'{tmp_path}/a.onnx')

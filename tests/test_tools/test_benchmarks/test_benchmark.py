"""tools/benchmarks/benchmark.py on tiny files."""

import json

import pytest
from deploy_models import exported
from helpers import ROOT, load_tool, run_tool


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
    assert [row['worst output, dB'] for row in rows][:2] == [200.0, 200.0]
    assert 20 < rows[2]['worst output, dB'] < 60  # another backend's quantizers
    assert rows[0]['integer layers'] == 8
    assert '(1, 3, 32, 48), 1 threads, 3 rounds' in capsys.readouterr().out


def test_open_sizes_need_a_size(tmp_path):
    exported('openvino', tmp_path / 'a.onnx', dynamic=True)
    with pytest.raises(SystemExit, match='name one --size for all'):
        run_tool('benchmark', '--files', f'{tmp_path}/a.onnx:openvino')
    with pytest.raises(SystemExit, match='write FILE:ENGINE'):
        run_tool('benchmark', '--files', f'{tmp_path}/a.onnx')


def test_files_of_a_config_beside_those_of_a_peer(tmp_path, monkeypatch):
    tool = load_tool('benchmark')
    peer = 'onnxruntime.quantization'
    monkeypatch.setattr(tool, 'PEERS', {peer: tool.PEERS[peer]})
    config = str(ROOT / 'configs/demo/retinanet_r18_fpn_demo-coco.py')
    options = ['--size', '64', '96', '--backends', 'onnxruntime_full', '--peers', '--rounds', '1']
    options += [
        '--num-samples',
        '2',
        '--work-dir',
        str(tmp_path),
        '--out',
        str(tmp_path / 'a.json'),
    ]
    monkeypatch.setattr('sys.argv', ['benchmark', '--config', config, *options])
    tool.main()
    rows = json.loads((tmp_path / 'a.json').read_text())
    assert [row['file'] for row in rows] == ['float.onnx', 'onnxruntime_full.onnx', f'{peer}.onnx']
    assert [row['integer layers'] for row in rows] == [0, 58, 58]
    assert min(row['worst output, dB'] for row in rows) > 10

"""The table of the default command: finished networks are not run again."""

from types import SimpleNamespace

import pytest
import torch
from helpers import ROOT, load_tool, run_tool, write_result

from mmptq.ptq.run_record import RunRecord


def test_a_finished_network_is_read(tmp_path):
    tool = load_tool('benchmark_auto')
    result = dict(float={'mAP': 0.5}, quantized={'mAP': 0.49}, seconds=3.0)
    folder = tmp_path / 'yolox_auto'
    write_result(folder, result)
    args = SimpleNamespace(work_dir=tmp_path)
    row = tool.quantize('yolox', 'auto', args)
    assert (row['metric'], row['float'], row['quantized'], row['done']) == ('mAP', 0.5, 0.49, '-')
    record = RunRecord(folder / 'run.json', 0, torch.device('cpu'))
    record.records.append(dict(kind='result', stage=None, rows=result))
    steps = [
        dict(remedy='channel multiplier', layers=['a', 'b'], kept=True),
        dict(remedy='bias correction', layers=['a'], kept=False),
    ]
    record.add('auto', dict(before=0.1, after=0.001, steps=steps), None)
    row = tool.quantize('yolox', 'auto', args)
    assert (row['loss'], row['done']) == ('0.1 -> 0.001', 'channel multiplier (2)')


def test_configs_exist_and_names_are_checked(capsys):
    tool = load_tool('benchmark_auto')
    assert all((ROOT / config).is_file() for config, _ in tool.NETWORKS.values())
    with pytest.raises(SystemExit, match="no network 'nothing': use one of yolox"):
        run_tool('benchmark_auto', 'nothing')
    run_tool('benchmark_auto', '--list')
    assert 'configs/yolox/yolox_nano_coco-mini.py' in capsys.readouterr().out

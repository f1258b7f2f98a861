"""The benchmark of recording: two ratios of time, and their row."""

import json
import subprocess
import sys
import time

import pytest
from helpers import ROOT, load_tool


def test_rows_of_time():
    found = dict(ratio=3.0, float_seconds=2.0, processor_ratio=1.5, float_processor_seconds=0.5)
    found['checks'] = {'float outputs': 0.0125, 'coarse steps': 0.0025}
    table = load_tool('benchmark_memory').table(dict(time=found))
    assert '3.00 times 2.0 s of float forwards, 1.50 times their 0.5 s of processor' in table
    assert '1.5% of it: float outputs 1.2%, coarse steps 0.2%' in table


def test_rows_of_forwards():
    found = dict(units=78, before=80.0, after=3.0, gradient_units=30, whole=40.0, from_unit=25.0)
    lines = load_tool('benchmark_memory').table(dict(forwards=found)).splitlines()
    assert 'qdrop by layer (78 units)' in lines[2] and '80.0 with whole forwards, 3.0' in lines[2]
    assert 'brecq (30 units)' in lines[3] and '40.0 with whole forwards, 25.0 now' in lines[3]


def test_waiting_takes_no_processor_time():
    tool = load_tool('benchmark_memory')
    clock, processor = tool.timed(lambda: time.sleep(0.2), dict(device='cpu'))
    assert clock >= 0.2 > 0.1 > processor


@pytest.mark.slow
def test_time_is_compared_by_the_clock_and_by_processor_time(tmp_path):
    command = [sys.executable, ROOT / 'tools' / 'benchmarks' / 'benchmark_memory.py', '--quick']
    command += ['--only', 'time', '--num-samples', '1', '--out', tmp_path / 'out.json']
    subprocess.run(command, capture_output=True, text=True, check=True)

    found = json.loads((tmp_path / 'out.json').read_text())['time']
    assert found['ratio'] == found['seconds'] / found['float_seconds']
    used = found['processor_seconds'] / found['float_processor_seconds']
    assert found['processor_ratio'] == used > 1
    assert all(0 < share < 1 for share in found['checks'].values()) and len(found['checks']) == 4

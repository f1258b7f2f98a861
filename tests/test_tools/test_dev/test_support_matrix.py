"""tools/dev/support_matrix.py: each config becomes a row, whatever happens to it."""

import json
import os
import sys
import time

import pytest
from helpers import ROOT, load_tool

MODULES = ('support_configs', 'support_samples', 'support_steps', 'support_page')
TEN = [
    *('atss', 'centernet', 'faster_rcnn', 'yolox', 'detr', 'solo', 'rtmdet', 'cornernet'),
    *('pointpillars', 'fcos3d'),
]


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools' / 'dev')
    yield load_tool('support_matrix')
    for name in MODULES:
        sys.modules.pop(name, None)


def run(tool, monkeypatch, tmp_path, *options: str) -> dict[str, dict]:
    """Rows by key, after a run of the tool."""
    page = tmp_path / 'page.md'
    if not page.exists():
        module = sys.modules['support_page']
        page.write_text(f'before\n{module.START}\n{module.END}\nafter\n')
    arguments = ['--results', str(tmp_path / 'results'), '--page', str(page), *options]
    monkeypatch.setattr(sys, 'argv', ['support_matrix.py', *arguments])
    tool.main()
    files = (tmp_path / 'results').glob('*.json')
    return {row['key']: row for row in (json.loads(file.read_text()) for file in files)}


def states(row: dict) -> dict[str, str]:
    return {name: entry['state'] for name, entry in row['steps'].items()}


def test_every_folder_has_a_config(tool):
    cases = tool.find_cases()
    keys = [case.key for case in cases]
    assert len(set(keys)) == len(keys)
    folders = {case.folder for case in cases if case.package == 'mmdet'}
    assert len(folders) > 100 and not {'_base_', 'common'} & folders
    chosen = sys.modules['support_configs'].CHOSEN
    packages = {case.package for case in cases}
    wanted = {f'{key}/{name}' for key, name in chosen.items() if key.split('/')[0] in packages}
    assert wanted <= {*keys}


def test_a_config_is_tried_once_and_fills_the_page(tool, monkeypatch, tmp_path):
    only = ('--only', 'faster_rcnn')
    ((key, row),) = run(tool, monkeypatch, tmp_path, *only).items()
    assert states(row) == dict.fromkeys(tool.STEPS, 'ok') | dict(export='refused')
    assert row['steps']['adapter']['text'] == 'TwoStageAdapter'
    assert row['facts']['quantized'] > 50 and row['facts']['float'] == 0
    page = (tmp_path / 'page.md').read_text()
    assert page.startswith('before\n') and page.endswith('after\n')
    assert 'Of 1 folders of configs, 1 build here and 1 run on a CPU.' in page
    assert '| mmdet: faster_rcnn/faster-rcnn_r50_fpn_1x_coco |' in page
    assert 'which the next run of the tool tries: mmdet/' in page
    assert 'mmdet/mask_rcnn/mask-rcnn_r50_fpn_1x_coco' in page
    monkeypatch.setattr(tool, 'run_apart', None)  # nothing is left to do
    assert run(tool, monkeypatch, tmp_path, *only) == {key: row}


def test_whatever_happens_is_a_row(tool, monkeypatch, tmp_path):
    (case,) = tool.choose(tool.find_cases(), ['yolox'])

    def fails(case, write, folder):
        record = tool.Record(case, write)
        with record.step('build'):
            pass
        with record.step('adapter'):
            raise ValueError('wrong numbers')
        with record.step('calibrate'):
            os._exit(7)

    def hangs(case, write, folder):
        with tool.Record(case, write).step('build'):
            time.sleep(60)

    monkeypatch.setattr(tool, 'run_case', fails)
    row = tool.run_apart(case, tmp_path, timeout=30)
    assert states(row) == dict(build='ok', adapter='error', calibrate='error')
    assert row['steps']['adapter']['text'] == 'ValueError: wrong numbers'
    assert row['steps']['calibrate']['text'] == 'the process ended with code 7'
    monkeypatch.setattr(tool, 'run_case', hangs)
    row = tool.run_apart(case, tmp_path, timeout=1)
    assert row['steps']['build']['text'] == 'not ready after 1 seconds'
    monkeypatch.setattr(tool, 'run_case', lambda *_: os._exit(1))
    assert tool.run_apart(case, tmp_path, 30)['steps']['build']['state'] == 'error'


def test_a_row_that_was_cut_off_is_tried_again(tool, tmp_path):
    (case,) = tool.choose(tool.find_cases(), ['yolox'])
    ends = dict(running=dict(build='running'), between=dict(build='ok', run='ok'))
    ends['optional'] = dict(build='ok', adapter='refused')
    for steps in ends.values():
        row = dict(key=case.key, steps={k: dict(state=v) for k, v in steps.items()}, facts={})
        tool.write_json(row, tool.result_file(tmp_path, case))
        assert tool.read_row(tmp_path, case) is None
    row['steps'] = dict(build=dict(state='needs'))
    tool.write_json(row, tool.result_file(tmp_path, case))
    assert tool.read_row(tmp_path, case) == row


def test_networks_that_are_the_same(tool):
    cases = {case.folder: case for case in tool.find_cases()}
    marks = {
        name: tool.signature(tool.detector_config(cases[name].read()))
        for name in ('mask_rcnn', 'cityscapes', 'retinanet', 'bytetrack', 'strongsort')
    }
    assert marks['cityscapes'] == marks['mask_rcnn']  # other classes
    assert marks['bytetrack'] == marks['strongsort']  # trackers count as their detector
    assert len(set(marks.values())) == 3


def test_what_is_not_known_is_said(tool, monkeypatch, tmp_path):
    with pytest.raises(SystemExit, match="error: --only 'retina' is no folder or config"):
        run(tool, monkeypatch, tmp_path, '--only', 'retina')
    (tmp_path / 'page.md').write_text('no place for it')
    with pytest.raises(SystemExit, match='error: the page lacks .*put both lines'):
        run(tool, monkeypatch, tmp_path, '--only', 'yolox', '--timeout', '1')


@pytest.mark.slow
@pytest.mark.parametrize('only', list(zip(TEN[::2], TEN[1::2], strict=True)), ids='-'.join)
def test_ten_kinds(tool, monkeypatch, tmp_path, only):
    rows = run(tool, monkeypatch, tmp_path, '--only', *only).values()
    assert {row['folder'] for row in rows} == set(only)
    for row in rows:
        found = states(row)
        assert found['test'] == 'ok', row['steps']
        assert not {'error', 'fails'} & {*found.values()}, row['steps']

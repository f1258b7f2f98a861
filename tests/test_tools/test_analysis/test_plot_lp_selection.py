"""The picture of DetPTQ's search."""

import json

import pytest
from helpers import run_tool

pytest.importorskip('matplotlib')


def entry(name: str, tensor: str, p: float, losses: dict[float, float]) -> dict:
    candidates = [dict(p=q, loss=loss, num_samples=4) for q, loss in losses.items()]
    return dict(name=name, tensor=tensor, p=p, loss=losses[p], candidates=candidates)


def test_a_picture_is_written(tmp_path, capsys):
    tensors = [
        entry('conv1', 'weight', 2.0, {1.0: 0.4, 2.0: 0.3, 4.0: 0.5}),
        entry('conv1', 'input', 4.0, {1.0: 0.6, 2.0: 0.6, 4.0: 0.4}),
        entry('conv2', 'weight', 1.0, {1.0: 0.5, 2.0: 0.6, 4.0: 0.7}),
    ]
    report = tmp_path / 'lp_selection.json'
    report.write_text(json.dumps(dict(tensors=tensors)))
    run_tool('plot_lp_selection', report)
    assert 'lp_selection.png written' in capsys.readouterr().out
    assert (tmp_path / 'lp_selection.png').read_bytes().startswith(b'\x89PNG')
    run_tool('plot_lp_selection', report, '--out', tmp_path / 'other.svg')
    assert '<svg' in (tmp_path / 'other.svg').read_text()


def test_a_file_that_is_no_report(tmp_path):
    (tmp_path / 'broken.json').write_text('{')
    for name in ('broken.json', 'missing.json'):
        with pytest.raises(SystemExit, match=f'{name}.*give a lp_selection.json'):
            run_tool('plot_lp_selection', tmp_path / name)

"""The page of two runs."""

import shutil

import numpy as np
import pytest
from helpers import load_tool
from pages import Page

from mmptq.engine.sample_file import load_samples, save_samples


@pytest.fixture
def two(tiny_quantized, tmp_path) -> list:
    """The same run twice; in the second one all scores are halved."""
    folders = [tmp_path / 'one', tmp_path / 'two']
    for folder in folders:
        shutil.copytree(tiny_quantized / 'work', folder)
    kept = load_samples(folders[1])
    for sample in kept.predictions:
        sample.scores = sample.scores / 2
    save_samples(kept, folders[1])
    return folders


def run(arguments: list, monkeypatch) -> None:
    monkeypatch.setattr('sys.argv', ['compare.py', *map(str, arguments)])
    load_tool('compare').main()


def test_two_runs(two, tmp_path, monkeypatch, capsys):
    run([*two, '--out', tmp_path / 'page.html'], monkeypatch)
    assert 'difference within noise: +.0000' in capsys.readouterr().out
    page = Page((tmp_path / 'page.html').read_text(encoding='utf-8'))
    assert 'one (INT8) → two (INT8)' in page.text
    assert 'Samples that changed most' in page.text and page.count('img') == 3
    assert 'detections of the one model' in page.text


def test_other_samples(two, tmp_path, monkeypatch):
    kept = load_samples(two[1])
    for index, sample in enumerate(kept.predictions):
        sample.source = f'{index}.png'
    save_samples(kept, two[1])
    with pytest.raises(SystemExit, match='evaluated on other samples'):
        run([*two, '--out', tmp_path / 'page.html'], monkeypatch)
    kept.table.views['all'].objects = np.ones((4, 3))
    kept.predictions = None
    save_samples(kept, two[1])
    with pytest.raises(SystemExit, match='evaluated on other samples'):
        run([*two, '--out', tmp_path / 'page.html'], monkeypatch)


def test_no_run(two, tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match='name the work directory of a PTQ run'):
        run([two[0], tmp_path], monkeypatch)
    (two[1] / 'samples.npz').unlink()
    with pytest.raises(SystemExit, match='evaluated its model with a report'):
        run(two, monkeypatch)

"""The page of a run shows what the run recorded, and needs no network."""

import json
import shutil
import subprocess

import cv2
import numpy as np
import pytest
from helpers import ROOT
from pages import Page

from mmptq.report.page import picture_url, render_page, run_content, write_page
from mmptq.report.page.metric_content import metric_tables

ROWS = [
    dict(name='coco/bbox_mAP', first=0.447, second=0.4, difference=-0.047, low=-0.06, high=-0.03),
    dict(name='coco/bbox_mAP_s', first=0.2, second=0.21, difference=0.01, low=-0.01, high=0.02),
]
CLASSES = [
    dict(name='car <b>', first=0.5, second=0.4, difference=-0.1, low=-0.2, high=-0.05),
    dict(name='bus', first=float('nan'), second=None, difference=None, low=None, high=None),
]


def run_of(**records) -> dict:
    about = dict(version='1.0', command="python tools/ptq.py 'a b.py'", seed=0)
    environment = dict(torch='2.13.0', mmdet3d=None, device='cpu')
    stages = [dict(stage='0-Calibrator', seconds=150.0)]
    rows = [dict(kind=kind, stage=None, rows=found) for kind, found in records.items()]
    return dict(about, environment=environment, stages=stages, records=rows)


@pytest.fixture
def full() -> dict:
    intervals = dict(
        metric='coco/bbox_mAP', method='by hand', resamples=1000, samples=168, seed=0
    ) | dict(confidence=0.95, rows=ROWS, classes=CLASSES)
    before = {'coco/bbox_mAP': 0.447, 'coco/bbox_mAP_s': 0.2, 'note': 'text'}
    after = {'coco/bbox_mAP': 0.4, 'coco/bbox_mAP_s': 0.21, 'note': 'text'}
    sizes = dict(float_bytes=4 * 2**20, quantized_bytes=2**20, seconds=0.5, num_samples=32)
    ranges = dict(noise=0.01, clipped=0.02, low=0.0, high=1.0, smallest=0.0, largest=3.0)
    step = dict(remedy='ranges', layers=list('abcd'), before=0.2, after=0.05, kept=True)
    return run_of(
        coverage=[
            dict(layer='conv1', kind='Conv2d', weight='int8 sym', input='uint8 asym', note=''),
            dict(layer='head', kind='Conv2d', weight='float', input='float', note=None),
        ],
        result=dict(float=before, quantized=after, **sizes),
        intervals=intervals,
        score_shift=dict(
            what='detections', threshold=0.3, pairs=7, mean=-0.05, mean_absolute=0.06, first_count=9
        )
        | dict(second_count=6, matched=0.5, same_count_at=0.25),
        input_ranges=[dict(layer='conv1', **ranges, counts=[100, 10, 1], edges=[0.0, 3.0])],
        diagnosis=[dict(layer='conv1', own_error=0.2, causes=['a', 'b'], remedy='--float conv1')],
        checks=[dict(check='layers run', seconds=0.25)],
        auto=dict(before=0.2, after=0.05, target=0.1, steps=[step]),
        accuracy_control=dict(metric='a/mAP', max_drop=0.005, layers=['a'])
        | dict(trials=[dict(reverted=3, value=0.44, drop=0.007, passed=False)]),
        bit_allocation=[
            dict(layer='conv1', bits='W4A8', weights=30, loss=0.1),
            dict(layer='head', bits='W8A8', weights=10, loss=0.2),
        ],
        unknown=[1, 'a', dict(b=None)],
    )


def test_everything_that_was_recorded(full, tmp_path):
    picture = picture_url(np.zeros((8, 8, 3), np.uint8))
    sample = dict(title='1. a.jpg', picture=picture, caption='change 1.00', lanes=False)
    content = run_content(full, tmp_path / 'work', samples=[sample], samples_note='Left out: b.')
    source = render_page(content)
    page = Page(source)
    assert page.addresses() == [picture]
    for text in (
        'INT8: mAP .4470 → .4000, worse than chance explains: -.0470 [-.0600, -.0300]',
        '1,000 paired bootstrap resamples of the 168 samples',
        'small objects',
        'car <b>',
        'use 0.250 with the quantized one',
        '-20.0 dB',
        'a; b',
        '--float conv1',
        '2 layers, 1 of them float',
        '2.5 min',
        "python tools/ptq.py 'a b.py'",
        'Left out: b.',
        'ranges a, b, c and 1 more 0.2 → 0.05 kept',
        '3 0.4400 +0.0070 not reached',
        'W4A8 1 75.0% W8A8 1 25.0%',
        'torch 2.13.0',
    ):
        assert text in page.text, text
    assert 'car &lt;b&gt;' in source and 'mmdet3d' not in page.text
    # Two metrics and one class with objects; one histogram.
    assert source.count('class="forest') == 3 and source.count('class="histogram"') == 1


def test_a_run_that_recorded_next_to_nothing(tmp_path):
    page = Page(render_page(run_content(run_of(), tmp_path)))
    assert 'not evaluated' in page.text and 'No intervals' in page.text
    reason = dict(metric='a/mAP', reason='the metric takes too long')
    result = dict(float={'a/mAP': 0.5}, quantized={'a/mAP': 0.4})
    page = Page(render_page(run_content(run_of(intervals=reason, result=result), tmp_path)))
    assert 'No intervals: the metric takes too long.' in page.text


def test_records_of_another_version(tmp_path):
    records = dict(auto=dict(steps=[dict(other=1)]), input_ranges=[dict(layer='a', counts=[1])])
    page = Page(render_page(run_content(run_of(**records), tmp_path)))
    assert 'cannot be read' in page.text and 'What was decided' not in page.text


def test_it_is_written_at_once(full, tmp_path):
    write_page(tmp_path / 'report.html', run_content(full, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ['report.html']
    Page((tmp_path / 'report.html').read_text(encoding='utf-8'))
    # What run.json makes of numbers that are not finite is shown, too.
    full = json.loads(json.dumps(full).replace('NaN', 'null'))
    Page(render_page(run_content(full, tmp_path)))


@pytest.mark.slow
@pytest.mark.parametrize('width', [1200, 400])
def test_it_looks_right_in_a_browser(full, tmp_path, width):
    browser = shutil.which('chromium') or shutil.which('google-chrome')
    if browser is None:
        pytest.skip('there is no Chromium here')
    write_page(tmp_path / 'report.html', run_content(full, tmp_path))
    options = ['--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars']
    options += [f'--screenshot={tmp_path / "page.png"}', f'--window-size={max(width, 500)},1600']
    address = (tmp_path / 'report.html').as_uri()
    subprocess.run([browser, *options, address], check=True, timeout=120, capture_output=True)
    image = cv2.imread(str(tmp_path / 'page.png'))
    # The page is grey, its sections white, and the heading has the red of a loss at its left.
    share = (image.min(axis=2) > 240).mean()
    assert 0.5 < share < 0.995
    red = (image[:, :, 2] > 170) & (image[:, :, :2].max(axis=2) < 80)
    assert red[:200, : image.shape[1] // 4].sum() > 100
    # Nothing runs over the right edge: a strip of page background is there from top to bottom.
    assert (image[:, -3:].reshape(-1, 3) == image[2, -3]).all()


def test_templates_are_part_of_the_package():
    folder = ROOT / 'mmptq/report/page'
    others = [path for path in folder.iterdir() if path.is_file() and path.suffix != '.py']
    assert {path.name.split('.')[0] for path in others} == {'page'} and len(others) == 3
    assert "'mmptq.report.page': ['page.*']" in (ROOT / 'setup.py').read_text()


def test_long_names_of_metrics_lose_what_they_share():
    names = ['NuScenes metric/pred_instances_3d_NuScenes/mAP', 'NuScenes metric/pred_other/NDS']
    tables = metric_tables(dict.fromkeys(names, 0.5), dict.fromkeys(names, 0.25), None)
    shown = [row['name'] for row in tables['shown']]
    assert shown == ['pred_instances_3d_NuScenes/mAP', 'pred_other/NDS']
    assert metric_tables({'a/b': 1.0}, {'a/b': 2.0}, None)['shown'][0]['name'] == 'a/b'

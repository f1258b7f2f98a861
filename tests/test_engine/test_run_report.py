"""Every run leaves a page, and none fails because of it."""

import numpy as np
import pytest
from helpers import run_tool
from mmengine.config import Config
from pages import Page

from mmptq.engine.evaluation_record import Evaluated
from mmptq.engine.sample_file import load_samples, save_samples
from mmptq.evaluation.predictions import BOXES, LANES, Predictions
from mmptq.evaluation.resampling import RatioTable
from mmptq.quantization import QuantizationError
from mmptq.report import find_record, read_record, read_run


def test_page_of_a_run(tiny_quantized):
    work = tiny_quantized / 'work'
    page = Page((work / 'report.html').read_text(encoding='utf-8'))
    assert 'INT8: mAP' in page.text and 'Samples that changed most' in page.text
    assert 'backbone.conv1' in page.text and 'ptq.py' in page.text
    assert not [address for address in page.addresses() if not address.startswith('data:')]
    assert (work / 'report.html').stat().st_size < 5 * 2**20
    intervals, result = read_record(work, 'intervals'), read_record(work, 'result')
    row = next(row for row in intervals['rows'] if row['name'] == intervals['metric'])
    assert row['first'] == pytest.approx(result['float']['coco/bbox_mAP'], abs=0.002)
    assert row['low'] <= row['difference'] <= row['high'] and intervals['samples'] == 3
    assert read_record(work, 'score_shift')['pairs'] > 0
    assert len(read_record(work, 'input_ranges')) > 10
    assert 'ptq.py' in read_run(work)['command']
    kept = load_samples(work)
    assert len(kept.predictions) == 3 and kept.metrics == result['quantized']
    assert kept.table.values(np.ones((1, 3)))['bbox_mAP'][0] == pytest.approx(row['second'])


@pytest.mark.slow
def test_without_a_report(tiny):
    cfg = Config.fromfile(tiny[0])
    cfg.train_cfg.report = False
    cfg.dump(tiny[0])
    run_tool('ptq', tiny[0])
    work = tiny[0].parent / 'work'
    assert not (work / 'report.html').exists() and not (work / 'samples.npz').exists()
    assert find_record(work, 'intervals') is None and find_record(work, 'result')


def test_samples_of_a_file(tmp_path):
    lanes = [np.array([[0.0, 1.0], [2.0, 3.0]], np.float32), np.zeros((0, 2), np.float32)]
    samples = [
        Predictions(LANES, lanes, np.ones(2), np.zeros(2, int), 'a.jpg'),
        Predictions(LANES, [], np.zeros(0), np.zeros(0, int), 'b.jpg'),
    ]
    table = RatioTable(np.ones((2, 1)), np.ones((2, 1)), dict(F1=[0]))
    save_samples(Evaluated({'x/F1': 1.0}, 'x/F1', 'x/', table, 'counts', samples), tmp_path)
    found = load_samples(tmp_path)
    assert (found.main, found.prefix, found.method) == ('x/F1', 'x/', 'counts')
    assert [len(sample) for sample in found.predictions] == [2, 0]
    assert found.predictions[0].shapes[0].tolist() == lanes[0].tolist()
    assert [sample.source for sample in found.predictions] == ['a.jpg', 'b.jpg']
    boxes = [Predictions(BOXES, np.ones((1, 4)), np.ones(1), np.full(1, 3), '')]
    save_samples(Evaluated({}, predictions=boxes), tmp_path)
    assert load_samples(tmp_path).predictions[0].labels.tolist() == [3]
    save_samples(Evaluated({}), tmp_path)
    assert load_samples(tmp_path).predictions is None and load_samples(tmp_path).table is None
    (tmp_path / 'samples.npz').write_bytes(b'a')
    with pytest.raises(QuantizationError, match='name the work directory of a PTQ run'):
        load_samples(tmp_path)

"""Results of finished work survive, and those of another run are refused."""

import pytest
import torch
from torch import nn

from mmptq.ptq.resume import ResumeStore, state_dict_sha256
from mmptq.quantization import QuantizationError

TEXTS = dict(config='a', checkpoint='b')


def test_saved_results_come_back(tmp_path):
    store = ResumeStore(tmp_path / 'r', TEXTS, False)
    store.stage = '1-Reconstructor'
    assert store.load('backbone.conv1') is None
    store.save('backbone.conv1', dict(up=torch.tensor([True]), before=0.5))
    store.save('', dict(before=1.0))
    again = ResumeStore(tmp_path / 'r', TEXTS, True)
    again.stage = '1-Reconstructor'
    assert again.load('backbone.conv1')['up'].item()
    assert again.load('')['before'] == 1.0
    again.stage = '2-Reconstructor'
    assert again.load('backbone.conv1') is None


def test_a_new_run_starts_empty(tmp_path):
    ResumeStore(tmp_path / 'r', TEXTS, False).save('x', {})
    assert ResumeStore(tmp_path / 'r', TEXTS, False).load('x') is None


def test_resume_without_anything_to_resume(tmp_path):
    assert ResumeStore(tmp_path / 'r', TEXTS, True).load('x') is None


@pytest.mark.parametrize('content', ['{"config": "a", "checkpoint": "other"}', 'broken'])
def test_another_run_is_refused(tmp_path, content):
    store = ResumeStore(tmp_path / 'r', TEXTS, False)
    (store.directory / 'fingerprint.json').write_text(content)
    with pytest.raises(QuantizationError, match=r'another (checkpoint|config).*without --resume'):
        ResumeStore(tmp_path / 'r', TEXTS, True)


def test_clear(tmp_path):
    store = ResumeStore(tmp_path / 'r', TEXTS, False)
    store.clear()
    assert not (tmp_path / 'r').exists()


def test_state_dict_sha256_changes_with_any_number():
    model = nn.BatchNorm2d(2)
    before = state_dict_sha256(model)
    assert state_dict_sha256(nn.BatchNorm2d(2)) == before
    model.running_mean[1] = 1e-7
    assert state_dict_sha256(model) != before

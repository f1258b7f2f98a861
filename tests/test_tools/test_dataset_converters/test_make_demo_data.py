from fresh_process import run_fresh
from helpers import ROOT

TOOL = ROOT / 'tools' / 'dataset_converters' / 'make_demo_data.py'
SMALL = ['--train', '2', '--val', '1', '--width', '64', '--height', '64']


def run(*arguments):
    return run_fresh(TOOL, *arguments)


def test_coco_set_is_made_once(tmp_path):
    first = run('coco', '--out', tmp_path / 'set', *SMALL)
    assert first.returncode == 0, first.stderr
    assert '3/3' in first.stdout
    assert first.stdout.rstrip().endswith('set: made')
    assert (tmp_path / 'set/annotations/instances_val.json').is_file()
    second = run('coco', '--out', tmp_path / 'set', *SMALL)
    assert second.returncode == 0, second.stderr
    assert 'already there' in second.stdout


def test_bad_parameter_is_one_sentence(tmp_path):
    result = run('coco', '--out', tmp_path / 'set', '--train', '0')
    assert result.returncode == 1
    assert "error: 'train' is 0: it must be at least 1." in result.stderr
    assert 'Traceback' not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_nuscenes_set_is_made_once(tmp_path):
    size = ['--train', '1', '--val', '1', '--keyframes', '2', '--columns', '60']
    first = run('nuscenes', '--out', tmp_path / 'set', *size)
    assert first.returncode == 0, first.stderr
    assert '2/2' in first.stdout
    assert (tmp_path / 'set/v1.0-trainval/sample_annotation.json').is_file()
    assert (tmp_path / 'set/nuscenes_infos_val.pkl').is_file()
    second = run('nuscenes', '--out', tmp_path / 'set', *size)
    assert second.returncode == 0, second.stderr
    assert 'already there' in second.stdout


def test_too_many_scenes_is_one_sentence(tmp_path):
    result = run('nuscenes', '--out', tmp_path / 'set', '--val', '151')
    assert result.returncode == 1
    assert 'error: val=151 is out of range: use 1 to 150' in result.stderr
    assert 'Traceback' not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_lane_set_is_made(tmp_path):
    size = ['--train', '1', '--val', '9', '--width', '164', '--height', '59']
    result = run('lane', '--out', tmp_path / 'set', *size)
    assert result.returncode == 0, result.stderr
    assert '10/10' in result.stdout
    assert (tmp_path / 'set/list/val_gt.txt').is_file()

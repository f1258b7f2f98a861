import numpy as np
import pytest

from mmptq.utils.scan_file import ScanFormat

FORMAT = ScanFormat(5, [-2, -2, -2, 2, 2, 2])


def problem(path, points, scan_format=FORMAT):
    np.asarray(points, dtype=np.float32).tofile(path)
    return scan_format.problem(str(path))


def test_sound_file_and_no_file(tmp_path):
    assert problem(tmp_path / 'a.bin', np.ones((7, 5))) is None
    assert FORMAT.problem('s3://bucket/a.bin') is None


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_not_finite(tmp_path, value):
    points = np.ones((7, 5))
    points[2, 1] = points[2, 4] = points[5, 0] = value
    assert problem(tmp_path / 'a.bin', points) == 'holds NaN or Inf in 2 of 7 points'


def test_cut_off_or_other_columns(tmp_path):
    assert 'other number of columns' in problem(tmp_path / 'a.bin', np.ones((7, 4)))
    assert 'has 28 bytes' in problem(tmp_path / 'a.bin', np.ones(7))
    assert problem(tmp_path / 'a.bin', []) == 'is an empty file'


def test_out_of_range(tmp_path):
    points = np.ones((7, 5))
    points[:, 1] = 3
    assert problem(tmp_path / 'a.bin', points).startswith('has no point inside [-2.0')
    assert problem(tmp_path / 'a.bin', points, ScanFormat(5)) is None
    points[4, 1] = -2
    assert problem(tmp_path / 'a.bin', points) is None


def test_format_of_configs():
    nested = dict(type='PointsRangeFilter', point_cloud_range=[0, 0, 0, 1, 1, 1])
    pipeline = [
        dict(type='mmdet3d.LoadPointsFromFile', load_dim=5),
        dict(type='MultiScaleFlipAug3D', transforms=[dict(type='RandomFlip3D'), nested]),
    ]
    assert ScanFormat.of(pipeline) == ScanFormat(5, [0, 0, 0, 1, 1, 1])
    assert ScanFormat.of([dict(type='LoadImageFromFile')]) is None
    assert ScanFormat.of(None) is None


def test_format_of_a_built_pipeline():
    pytest.importorskip('mmdet3d')
    from helpers import ROOT
    from mmengine.config import Config
    from mmengine.dataset import Compose
    from mmengine.registry import init_default_scope

    cfg = Config.fromfile(ROOT / 'configs/demo/centerpoint_pillar_demo-nus.py')
    import mmdet3d.datasets.transforms  # noqa: F401  (registers)

    init_default_scope('mmdet3d')
    built = ScanFormat.of(Compose(cfg.test_pipeline))
    assert built.num_columns == 5
    assert list(built.point_range) == cfg.point_cloud_range

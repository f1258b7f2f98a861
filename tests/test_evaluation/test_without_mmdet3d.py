"""The package works for 2D users, who have no mmdet3d."""

from fresh_process import run_fresh


def test_import_without_mmdet3d():
    code = (
        'import sys; sys.modules["mmdet3d"] = None\n'
        'import mmptq.datasets, mmptq.evaluation\n'
        'assert not hasattr(mmptq.evaluation, "RotatedIoU3DMetric")\n'
        'assert mmptq.evaluation.average_precision is not None\n'
    )
    result = run_fresh('-c', code)
    assert result.returncode == 0, result.stderr

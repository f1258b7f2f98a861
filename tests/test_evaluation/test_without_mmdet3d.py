"""The package works for 2D users, who have no mmdet3d."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_import_without_mmdet3d():
    code = (
        'import sys; sys.modules["mmdet3d"] = None\n'
        'import mmptq.datasets, mmptq.evaluation\n'
        'assert not hasattr(mmptq.evaluation, "RotatedIoU3DMetric")\n'
        'assert mmptq.evaluation.average_precision is not None\n'
    )
    result = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr

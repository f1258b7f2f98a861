"""Files whose weight scales differ by one part in a million."""

import numpy as np
import pytest
from deploy_models import exported, sample_inputs
from onnx import numpy_helper

from mmptq.deploy.engines import SimulationEngine
from mmptq.deploy.rounding import nudged, open_nudged


def test_only_weight_scales_change(tmp_path):
    _, model = exported('openvino', tmp_path / 'a.onnx')
    changed = nudged(model)
    before, after = (
        {tensor.name: numpy_helper.to_array(tensor) for tensor in m.graph.initializer}
        for m in (model, changed)
    )
    assert before.keys() == after.keys()
    different = {name for name in before if not np.array_equal(before[name], after[name])}
    assert different == {name for name in before if name.endswith('.weight_scale')}
    ratio = after['backbone.stem.weight_scale'] / before['backbone.stem.weight_scale'] - 1
    assert ratio[:4] == pytest.approx([-1e-6, 1e-6] * 2, abs=1.2e-7)
    x = sample_inputs()[0].numpy()
    moved, reference = (
        open_nudged(tmp_path / 'a.onnx').run(x),
        SimulationEngine(tmp_path / 'a.onnx').run(x),
    )
    assert not np.array_equal(moved[1], reference[1])
    assert np.abs(moved[1] - reference[1]).max() < 0.05 * np.abs(reference[1]).max()

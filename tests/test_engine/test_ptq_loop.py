from types import SimpleNamespace

import pytest
import torch

from mmptq.engine.ptq_loop import leave_mps


@pytest.mark.parametrize(('device', 'moved'), [('mps', ['cpu']), ('cpu', [])])
def test_a_model_on_mps_is_quantized_on_the_cpu(device, moved):
    places, warnings = [], []
    parameter = SimpleNamespace(device=torch.device(device))
    model = SimpleNamespace(parameters=lambda: [parameter], to=places.append)
    leave_mps(SimpleNamespace(model=model, logger=SimpleNamespace(warning=warnings.append)))
    assert places == moved
    assert len(warnings) == len(moved)

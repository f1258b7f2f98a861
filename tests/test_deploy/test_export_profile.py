"""What an export reads from a backend dict."""

import pytest
from deploy_models import profile_of

from mmptq.deploy import ExportProfile
from mmptq.quantization import QuantizationError


def test_both_parts_of_a_backend():
    profile = profile_of('openvino_full')
    assert (profile.name, profile.engine) == ('openvino_full', 'openvino')
    assert profile.limits.act == dict(signed=False)
    assert profile.unsupported_ops == ('DeformConv',)
    assert profile.matmul_rhs == dict(symmetric=True, signed=True, narrow=True)


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (dict(name='a', export=dict(engine='b', bits=4)), "backend.export has an unknown .*'bits'"),
        (dict(name='a', export=dict(engine='b', limits=1)), "an unknown key 'limits'"),
        (dict(name='a', quantized_ops=('Add',)), "backend has an unknown key 'quantized_ops'"),
        (dict(name='a'), "backend 'a' lacks export.engine"),
        (dict(export=dict(engine='b')), "backend lacks 'name'"),
    ],
)
def test_bad_config(cfg, message):
    with pytest.raises(QuantizationError, match=message):
        ExportProfile.from_config(cfg)

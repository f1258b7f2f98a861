"""A file in the place of the network of a detector."""

import pytest
import torch
from deploy_models import TinyDetector, exported, sample_inputs

from mmptq.deploy import is_engine_file, open_engine_file, replace_with_engine
from mmptq.quantization import QuantizationError


def test_names():
    assert is_engine_file('a/b.onnx')
    assert is_engine_file('a/b.xml')
    assert not is_engine_file('a/b.pth')


@pytest.mark.parametrize('backend', ['onnxruntime', 'openvino'])
def test_detector_decodes_what_the_engine_computes(tmp_path, backend):
    quantized, _ = exported(backend, tmp_path / 'a.onnx', dynamic=True)
    engine = open_engine_file(tmp_path / 'a.onnx', threads=1)
    assert type(engine).__name__.lower().startswith(backend)
    detector = TinyDetector().eval()
    for parameter in detector.parameters():
        parameter.data.zero_()  # nothing of it may play a role
    replace_with_engine(detector, engine)
    for x in sample_inputs(2, (48, 32)):
        with torch.no_grad():
            expected, value = quantized(x), detector(x)
        noise = (value - expected).square().mean() / expected.square().mean()
        assert noise < 1e-2


def test_the_engine_can_be_chosen(tmp_path):
    exported('onnxruntime', tmp_path / 'a.onnx')
    engine = open_engine_file(tmp_path / 'a.onnx', 'simulation')
    assert engine.count_layers()[0] == 0


def test_files_of_others_are_refused(tmp_path):
    import onnx

    exported('onnxruntime', tmp_path / 'a.onnx')
    model = onnx.load(tmp_path / 'a.onnx')
    del model.metadata_props[:]
    onnx.save(model, tmp_path / 'b.onnx')
    with pytest.raises(QuantizationError, match='export it with tools/export.py'):
        open_engine_file(tmp_path / 'b.onnx')

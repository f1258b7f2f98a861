"""What an export does with an engine, in the order in which files appear."""

import json

import pytest
import torch
from deploy_models import TinyDetector, quantized_detector, sample_inputs
from doc_examples import python_example, run_example

from mmptq.deploy import (
    ENGINES,
    ExportProfile,
    FileForm,
    export_quantized,
    is_engine_file,
    open_engine_file,
    replace_with_engine,
)
from mmptq.deploy.engines import TensorRtEngine, openvino_engine
from mmptq.quantization import QuantizationError
from mmptq.utils import files

PAGE = 'docs/development/add_backend.md'


@pytest.fixture
def example():
    """Names of the documentation's example of an engine, which is forgotten afterwards."""
    yield run_example(PAGE)
    ENGINES.module_dict.pop('reference')


def test_a_new_engine_and_backend_need_no_other_code(example, tmp_path):
    assert len(python_example(PAGE).splitlines()) <= 40
    profile, path = ExportProfile.from_config(example['backend']), tmp_path / 'a.onnx'
    detector = quantized_detector(profile)
    rows = export_quantized(detector, profile, sample_inputs(), path, {}, FileForm(dynamic=False))
    assert [row['output'] for row in rows] == ['output_0_0', 'output_1_offsets']
    assert min(row['engine against file (dB)'] for row in rows) > 60
    engine = open_engine_file(path)
    assert type(engine).__name__ == 'ReferenceEngine'
    assert engine.metadata['backend'] == 'reference'
    (x,), deployed = sample_inputs(1), TinyDetector().eval()
    replace_with_engine(deployed, engine)
    with torch.no_grad():
        torch.testing.assert_close(deployed(x), detector(x), rtol=0.05, atol=0.05)


def test_suffixes_are_those_of_the_engine(example, tmp_path):
    profile = ExportProfile.from_config(example['backend'])
    with pytest.raises(QuantizationError, match="a.xml' must end in .onnx for reference"):
        export_quantized(torch.nn.Module(), profile, [], tmp_path / 'a.xml', {})
    ENGINES.module_dict['reference'].suffixes = ('.onnx', '.ref')
    assert is_engine_file('a.ref')


def test_an_unknown_engine_is_refused_before_any_work(tmp_path):
    profile = ExportProfile.from_config(dict(name='a', export=dict(engine='magic')))
    with pytest.raises(QuantizationError, match="there is no engine 'magic': use one of onnxrunt"):
        export_quantized(torch.nn.Module(), profile, [], tmp_path / 'a.onnx', {})


def test_the_graph_appears_after_its_weights(tmp_path, monkeypatch):
    order, replace = [], files.os.replace

    def note(source, target):
        order.append(target.name)
        replace(source, target)

    profile = ExportProfile.from_config(
        dict(name='a', act=dict(signed=False), export=dict(engine='openvino'))
    )
    detector = quantized_detector(profile)
    monkeypatch.setattr(files.os, 'replace', note)
    export_quantized(detector, profile, sample_inputs(), tmp_path / 'm.xml', dict(note='x'))
    assert order == ['m.bin', 'm.xml']
    assert open_engine_file(tmp_path / 'm.xml', threads=1).metadata['note'] == 'x'


def test_metadata_is_read_without_the_engine(tmp_path):
    path, detector = tmp_path / 'm.xml', quantized_detector('openvino')
    profile = ExportProfile.from_config(
        dict(name='a', act=dict(signed=False), export=dict(engine='openvino'))
    )
    export_quantized(detector, profile, sample_inputs(), path, {}, FileForm(dynamic=False))
    engine = openvino_engine.OpenVinoEngine
    assert engine.read_metadata(path)['engine'] == 'openvino'
    json.dumps(engine.read_metadata(path))


def test_an_engine_that_is_not_installed_may_be_optional(tmp_path, monkeypatch):
    if TensorRtEngine.available():
        pytest.skip('TensorRT is installed')
    backend = dict(name='a', act=dict(signed=False), export=dict(engine='tensorrt'))
    profile, detector = ExportProfile.from_config(backend), quantized_detector('openvino')
    rows = export_quantized(detector, profile, sample_inputs(), tmp_path / 'a.onnx', {})
    assert {row['engine against file (dB)'] for row in rows} == {200.0}
    monkeypatch.setattr(TensorRtEngine, 'optional_at_export', False)
    with pytest.raises(QuantizationError, match="'tensorrt' is not installed"):
        export_quantized(detector, profile, sample_inputs(), tmp_path / 'b.onnx', {})
    assert [path.name for path in tmp_path.iterdir()] == ['a.onnx']

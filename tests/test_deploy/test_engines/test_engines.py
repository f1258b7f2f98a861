"""Files in ONNX Runtime and OpenVINO, and what is said of files that do not work."""

import sys

import numpy as np
import pytest
from deploy_models import exported, sample_inputs
from fresh_process import run_fresh

from mmptq.deploy import open_engine
from mmptq.deploy.engines import OpenVinoEngine, SimulationEngine, TensorRtEngine, engine_of_file
from mmptq.quantization import QuantizationError


@pytest.fixture(scope='module')
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp('engines') / 'a.onnx'
    exported('onnxruntime', path, dynamic=True)
    return path


@pytest.mark.parametrize('name', ['onnxruntime', 'openvino', 'simulation'])
def test_runs_any_size_or_a_fixed_one(file, name):
    (x,) = sample_inputs(1)
    free, fixed = open_engine(name, file, 1), open_engine(name, file, 1, size=(32, 48))
    assert [isinstance(end, str) for end in free.input_shape] == [True, False, True, True]
    assert fixed.input_shape == (1, 3, 32, 48)
    assert free.output_names == ['output_0_0', 'output_1_offsets']
    assert free.metadata['structure'] == {'tuple': [{'list': [0]}, {'dict': {'offsets': 1}}]}
    for a, b in zip(free.run(x.numpy()), fixed.run(x.numpy()), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    (larger,) = sample_inputs(1, (64, 64))
    assert free.run(larger.numpy())[0].shape == (1, 80, 16, 16)


def test_results_outlive_the_next_run(file):
    engine = open_engine('openvino', file, 1)
    a, b = sample_inputs()
    first = engine.run(a.numpy())[0]
    kept = first.copy()
    engine.run(b.numpy())
    assert np.array_equal(first, kept)


OUTLIVED = """
import faulthandler, signal, sys
from mmptq.deploy import open_engine
faulthandler.enable()  # has an alternate signal stack of its own
engines = [open_engine('openvino', sys.argv[1], 1) for _ in range(2)]
while engines:
    del engines[0]
signal.signal(signal.SIGUSR1, lambda *_: print('handled'))
signal.raise_signal(signal.SIGUSR1)
"""


def test_signals_are_handled_after_engines_were_released(file):
    result = run_fresh('-c', OUTLIVED, file)
    assert (result.returncode, result.stdout) == (0, 'handled\n')


def test_layers_are_counted_in_what_the_engine_made_of_the_file(file):
    assert open_engine('onnxruntime', file, 1).count_layers() == (8, 1)  # the offsets stay float
    assert open_engine('openvino', file, 1).count_layers() == (9, 0)
    assert open_engine('simulation', file, 1).count_layers() == (0, 9)


@pytest.mark.parametrize('name', ['onnxruntime', 'openvino'])
def test_bad_files(tmp_path, name):
    with pytest.raises(QuantizationError, match="'.*no.onnx' does not exist"):
        open_engine(name, tmp_path / 'no.onnx')
    cut = tmp_path / 'cut.onnx'
    cut.write_bytes(b'not a model')
    with pytest.raises(QuantizationError, match="cut.onnx' cannot be loaded .* export it again"):
        open_engine(name, cut)


def test_unknown_engine(file):
    with pytest.raises(QuantizationError, match="no engine 'magic': use one of onnxruntime"):
        open_engine('magic', file)


def test_missing_packages(monkeypatch):
    for name in ('onnxruntime', 'openvino'):
        monkeypatch.setitem(sys.modules, name, None)
    for engine in (OpenVinoEngine, SimulationEngine, TensorRtEngine):
        assert not engine.available()
        with pytest.raises(QuantizationError, match=f"'{engine.package}' is not .* `pip install"):
            engine.require()


def test_missing_tensorrt():
    import onnxruntime

    if 'TensorrtExecutionProvider' in onnxruntime.get_available_providers():
        pytest.skip('TensorRT is installed')
    assert SimulationEngine.available() and not TensorRtEngine.available()
    with pytest.raises(QuantizationError, match='pip install onnxruntime-gpu tensorrt'):
        TensorRtEngine.require()


def test_engine_that_a_file_was_made_for(file, tmp_path):
    assert engine_of_file(file) == 'onnxruntime'
    with pytest.raises(QuantizationError, match="no.xml' does not exist"):
        engine_of_file(tmp_path / 'no.xml')
    for name, message in (('a.pb', "no engine reads '.*a.pb'"), ('a.onnx', 'cannot be loaded')):
        (tmp_path / name).write_bytes(b'not a model')
        with pytest.raises(QuantizationError, match=message):
            engine_of_file(tmp_path / name)

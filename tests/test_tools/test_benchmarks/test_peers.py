"""What other tools make of an exported float network, for the comparison."""

import numpy as np
import pytest
from deploy_models import TinyDetector, sample_inputs
from helpers import load_tool

from mmptq.deploy import export_float, open_engine

peers = load_tool('peers')


@pytest.mark.parametrize('name', peers.PEERS)
def test_the_file_runs_and_says_what_it_is(tmp_path, name):
    if name.startswith('nncf'):
        pytest.importorskip('nncf')
    inputs = sample_inputs(4)
    source = tmp_path / 'float.onnx'
    export_float(TinyDetector().eval(), inputs, source)
    engine_name, quantize = peers.PEERS[name]
    out = tmp_path / ('peer.xml' if engine_name == 'openvino' else 'peer.onnx')
    quantize(source, [x.numpy() for x in inputs], out)
    engine = open_engine(engine_name, out, 1)
    reference = open_engine(engine_name, source, 1)
    assert engine.metadata['structure'] == reference.metadata['structure']
    assert engine.count_layers()[0] > 0
    for a, b in zip(engine.run(inputs[0].numpy()), reference.run(inputs[0].numpy()), strict=True):
        assert 0 < np.abs(a - b).max() < 0.3 * np.abs(b).max()

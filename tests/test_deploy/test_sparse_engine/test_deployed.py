"""From points to head outputs in engines: nothing of the network is left in PyTorch."""

import numpy as np
import pytest
import torch
from lidar_models import random_scan, tiny_anchor_model, tiny_center_point

import mmptq
from mmptq.deploy import FileForm, export_quantized, open_engine_file, replace_with_engine
from mmptq.deploy.export_profile import ExportProfile
from mmptq.deploy.exported_subgraph import find_family, subgraph_inputs
from mmptq.deploy.sparse_engine import (
    open_sparse_network,
    plan_sparse_export,
    replace_encoder,
    weights_before,
)
from mmptq.utils.cli import base_config
from mmptq.utils.trees import flatten

pytest.importorskip('mmdet3d')
pytest.importorskip('openvino')
CASES = {
    'pillar': (tiny_center_point, 5, 'int8_lidar'),
    'voxel': (tiny_center_point, 5, 'int8_sparse'),
    'pointpillars': (tiny_anchor_model, 4, 'int8_lidar'),
    'second': (tiny_anchor_model, 4, 'int8_sparse'),
}


def batch_of(*scans: torch.Tensor) -> dict:
    """Raw points as a data loader yields them."""
    from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes

    sample = dict(metainfo=dict(box_type_3d=LiDARInstance3DBoxes))
    samples = [Det3DDataSample(**sample) for _ in scans]
    return dict(inputs=dict(points=list(scans)), data_samples=samples)


def exported(kind, folder):
    """Quantized detector, the scans it was exported with, and the path of its files."""
    build, columns, scheme = CASES[kind]
    detector = build(kind)
    batches = [batch_of(random_scan(columns=columns, seed=seed)) for seed in range(2)]
    mmptq.quantize(detector, batches, scheme, 'minmax', backend='openvino')
    sparse = plan_sparse_export(detector, {})
    with torch.no_grad(), subgraph_inputs(detector) as inputs, sparse.watching():
        for batch in batches:
            detector.test_step(batch)
    sparse.check()
    profile = ExportProfile.from_config(base_config('backend', 'openvino').backend)
    path, metadata = folder / 'a.onnx', dict(sparse=sparse.describe())
    form = FileForm(dynamic=False)
    export_quantized(detector, profile, inputs, path, metadata, form, min_decibel=0.0)
    sparse.write(path)
    return detector, batches, path


def outputs_of(detector, batch) -> tuple[np.ndarray, np.ndarray]:
    """The map that the middle encoder gives, and all numbers that the head gives."""
    encoder = getattr(detector, 'middle_encoder', None) or detector.pts_middle_encoder
    head = getattr(detector, find_family(detector)[2])
    maps, seen, forward = [], [], head.forward
    hook = encoder.register_forward_hook(lambda *args: maps.append(args[2].clone()))
    head.forward = lambda *args: seen.append(forward(*args)) or seen[-1]
    with torch.no_grad():
        detector.test_step(batch)
    hook.remove()
    head.forward = forward
    tensors, _ = flatten(seen[0])
    return maps[0].numpy(), np.concatenate([tensor.numpy().ravel() for tensor in tensors])


@pytest.mark.slow
@pytest.mark.parametrize('kind', list(CASES))
def test_deployed_as_simulated(library, kind, tmp_path):
    detector, batches, path = exported(kind, tmp_path)
    expected, numbers = outputs_of(detector, batches[0])
    heads = {}
    for takes_bytes in (False, True):
        deployed = CASES[kind][0](kind)
        engine = open_engine_file(path, threads=1)
        network = open_sparse_network(path, engine.metadata, threads=2)
        assert network.graph.points is not None
        replace_with_engine(deployed, engine)
        replace_encoder(deployed, network, engine if takes_bytes else None)
        assert weights_before(deployed) == []
        outputs_of(deployed, batches[1])  # leaves nothing behind
        found, heads[takes_bytes] = outputs_of(deployed, batches[0])
        step = 0
        if takes_bytes:
            step, zero = network.output_grid.scale, network.output_grid.zero
            found = ((found.astype(np.float32) - zero) * step).transpose(0, 3, 1, 2)
            expected = np.clip(expected, -zero * step, (255 - zero) * step)
        assert found.shape == expected.shape
        # Each layer may round a tie to the other side, which the next layers see.
        error = np.abs(found - expected)
        assert np.mean(error > 0.51 * step + 1e-5 * np.abs(expected).max()) < 0.02
    size = np.linalg.norm(numbers)
    assert np.linalg.norm(heads[False] - numbers) < 0.02 * size
    assert np.linalg.norm(heads[True] - heads[False]) < 0.01 * size

"""A detector that computes what the file of a backend computes."""

from types import SimpleNamespace

import onnx
import pytest
import torch
from deploy_models import TinyDetector, profile_of, quantized_detector, sample_inputs

from mmptq.deploy import build_model, file_simulation
from mmptq.deploy.engines import SimulationEngine
from mmptq.deploy.file_simulation import FileSimulation
from mmptq.quantization.placement import LayerPlan


def context(detector: torch.nn.Module, **changes) -> SimpleNamespace:
    """A finished run on two samples."""
    records, lines = {}, []
    ctx = SimpleNamespace(
        model=detector,
        plan=SimpleNamespace(layers=[]),
        logger=SimpleNamespace(info=lines.append),
        batches=lambda *_: sample_inputs(),
        predict=detector,
        record=records.setdefault,
        records=records,
        lines=lines,
    )
    vars(ctx).update(changes)
    return ctx


@pytest.fixture
def checked(monkeypatch):
    monkeypatch.setattr(file_simulation, 'check_exportable', lambda *_: None)


@torch.no_grad()
def test_what_the_file_computes(checked, tmp_path):
    backend = 'onnxruntime'
    detector = quantized_detector(backend)
    (x, _), profile = sample_inputs(), profile_of(backend)
    before, modules = detector(x), list(detector.modules())
    ctx = context(detector)
    with FileSimulation(profile)(ctx):
        simulated = detector(x)
        assert not list(detector.backbone.parameters())
    assert torch.equal(detector(x), before)
    assert list(detector.modules()) == modules and 'forward' not in vars(detector.bbox_head)
    model, observed = build_model(detector, profile, sample_inputs(), True, None)
    onnx.save(model, tmp_path / 'a.onnx')
    outputs = map(torch.from_numpy, SimulationEngine(tmp_path / 'a.onnx').run(x.numpy()))
    scores, offsets = outputs
    assert torch.equal(simulated, scores.sigmoid().amax(1) + offsets.sum(1))
    assert not torch.equal(simulated, before)
    assert {row['tensor'] for row in ctx.records['simulated_file']} == observed.keys()
    (line,) = ctx.lines
    assert f'the file for {backend}' in line and '1 output' in line


def test_without_a_file_the_model_stays():
    detector = TinyDetector().eval()
    ctx = context(
        detector, plan=SimpleNamespace(layers=[LayerPlan('backbone.stem', 'Conv2d', None, None)])
    )
    with FileSimulation(profile_of('openvino'))(ctx), torch.no_grad():
        assert torch.equal(detector(sample_inputs()[0]), TinyDetector()(sample_inputs()[0]))
    assert 'not simulated: no layer between backbone and head is quantized' in ctx.lines[0]


def with_last_part(part):
    """A quantized detector whose head ends with this module, and its context."""
    detector = TinyDetector().eval()
    detector.bbox_head = torch.nn.Sequential(detector.bbox_head.shared, part)
    detector = quantized_detector('openvino', detector)
    ctx = context(
        detector, predict=lambda x: detector.bbox_head(detector.neck(detector.backbone(x)))
    )
    return detector, ctx


class OneSize(torch.nn.Module):
    """A head that refuses any size but that of the samples."""

    def forward(self, x):
        if x.shape[-1] != 12:
            raise ValueError('another size')
        return x


@torch.no_grad()
def test_a_model_of_one_size_is_simulated(checked):
    detector, ctx = with_last_part(OneSize())
    with FileSimulation(profile_of('openvino'))(ctx):
        assert not list(detector.backbone.parameters())


class SizedHead(torch.nn.Module):
    """A head that keeps the size of the first input."""

    def forward(self, x):
        return x[..., : int(x.shape[2]), :] if not torch.jit.is_tracing() else x[..., :4, :]


@torch.no_grad()
def test_files_that_change_with_the_size_are_not_used(checked):
    detector, ctx = with_last_part(SizedHead())
    with FileSimulation(profile_of('openvino'))(ctx):
        assert list(detector.backbone.parameters())
    assert 'the file for openvino is not simulated' in ctx.lines[0]

"""Every registered stage on a GPU, on a toy detector: the tensors of the CPU, bit by bit.

A stage of your own is tried by itself; give it options here where its defaults take long.
"""

import pytest
import torch
from helpers import registered
from mmengine.registry import TASK_UTILS
from reconstruction import W4A4, ToyDetector, images
from simulated_cuda import simulated_cuda

from mmptq.ptq import PTQContext
from mmptq.ptq.resume import ResumeStore
from mmptq.ptq.run import plan_model, quantize_model
from mmptq.ptq.stages.recipe import build_stages, stage_facts
from mmptq.ptq.stages.stage import RANGES, Stage

FEW = dict(num_iters=3, batch_size=2)
DETECTION = dict(type='DetectionOutputLoss')
TOP_K = dict(type='TopKConfidenceLoss', k=2)
INLIERS = dict(type='InlierImportance', loss=TOP_K)
OPTIONS = dict(
    AccuracyControl=[],  # evaluates, and a toy has no metric
    BitAllocation=[dict(average_bits=5.0, num_samples=2)],
    Distillation=[FEW],
    LpSelector=[
        dict(num_samples=2, exponents=[2.0, 1.0], num_candidates=3),
        dict(num_samples=2, exponents=[2.0], weight_metric='weight', fast=False),
    ],
    Reconstructor=[
        FEW,
        dict(FEW, drop_prob=0.5, act_lr=1e-3),
        dict(FEW, importance=dict(type='FisherImportance')),
        dict(FEW, importance=INLIERS),
        dict(FEW, granularity='layer', task_loss=DETECTION),
        dict(FEW, granularity='network', loss=None, task_loss=DETECTION),
        dict(FEW, drop_prob=0.5, task_loss=DETECTION, cache_budget=2000),
    ],
    ScaleRefiner=[
        dict(importance=INLIERS, num_iters=3),
        dict(importance=dict(INLIERS, curvature='rank_one', em_scope='layer'), num_positions=9),
    ],
)
CALIBRATOR = dict(type='Calibrator', act_observer=dict(type='LpObserver'))


def stages() -> list[dict]:
    names = [cls.__name__ for cls in registered(TASK_UTILS) if issubclass(cls, Stage)]
    return [dict(options, type=name) for name in names for options in OPTIONS.get(name, [{}])]


def recipe(stage: dict) -> list:
    (built,) = build_stages([stage]) if stage['type'] == 'Calibrator' else [None]
    if built is not None:
        return [built]
    cls = TASK_UTILS.get(stage['type'])
    first = RANGES in stage_facts(cls(**{k: v for k, v in stage.items() if k != 'type'}), 'needs')
    return build_stages([CALIBRATOR, stage] if first else [stage, CALIBRATOR])


def make_context(folder, device: str) -> PTQContext:
    torch.manual_seed(1)
    model = ToyDetector().eval().to(device)
    batches = [dict(inputs=x.to(device)) for x in images(4)]
    ctx = PTQContext(model, batches, folder, seed=0)
    plan_model(ctx, W4A4)
    return ctx


def quantized(folder, device: str, stage: dict) -> dict[str, torch.Tensor]:
    ctx = make_context(folder, device)
    quantize_model(ctx, recipe(stage))
    state = ctx.model.state_dict()
    assert {x.device.type for x in state.values()} == {device}
    return {name: x.cpu() for name, x in state.items()}


def label(stage: dict) -> str:
    return '-'.join([stage['type'], *(key for key in stage if key != 'type')])


@pytest.mark.parametrize('stage', stages(), ids=label)
def test_a_gpu_gives_what_the_cpu_gives(stage, tmp_path):
    expected = quantized(tmp_path / 'cpu', 'cpu', stage)
    with simulated_cuda():
        found = quantized(tmp_path / 'cuda', 'cuda', stage)
    assert found.keys() == expected.keys()
    for name, x in expected.items():
        assert torch.equal(found[name], x), name


@pytest.mark.parametrize('devices', [('cpu', 'cuda'), ('cuda', 'cpu'), ('cuda', 'cuda')])
@pytest.mark.parametrize('name', ['Reconstructor', 'Distillation', 'LpSelector'])
def test_a_run_is_resumed_on_another_device(name, devices, tmp_path, monkeypatch):
    """What one device saved, another one takes: nothing is learned twice, and the bits agree."""
    stage = dict(OPTIONS[name][0], type=name)
    monkeypatch.setattr('mmptq.ptq.stages.distillation.LOG_INTERVAL', 1)
    states = []
    with simulated_cuda():
        for resume, device in enumerate(devices):
            ctx = make_context(tmp_path / 'run', device)
            ctx.resume = ResumeStore(tmp_path / 'resume', {}, bool(resume))
            if resume:
                saved = sorted(path.name for path in (tmp_path / 'resume').glob('*.pth'))
                assert saved
                monkeypatch.setattr(ctx.resume, 'save', refuse)
            quantize_model(ctx, recipe(stage))
            states.append({key: x.cpu() for key, x in ctx.model.state_dict().items()})
    for key, x in states[0].items():
        assert torch.equal(x, states[1][key]), key


def refuse(*_):
    raise AssertionError('something was learned again')

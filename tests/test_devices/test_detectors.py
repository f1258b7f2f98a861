"""Adapters and losses of every detector family on a GPU: the numbers of the CPU, no mixed devices.

A loss that is registered in ``MODELS`` is tried by itself.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers import registered
from lane_models import HEADS, build_lane_model, lane_batch
from mmengine.registry import MODELS
from simulated_cuda import simulated_cuda
from stock_models import STOCK, build_stock, image_batch, stock_config
from torch import Tensor, nn

from mmptq.adapters import Adapter, LaneHeadAdapter, build_adapter
from mmptq.losses import TaskLoss
from mmptq.utils.errors import QuantizationError
from mmptq.utils.trees import flatten, map_tensors, tensors_in

LIDAR = ('pillar', 'voxel', 'pointpillars', 'second')
MONO = ('fcos3d', 'smoke')
FAMILIES = [*STOCK, *LIDAR, *MONO, *HEADS]

Case = tuple[nn.Module, dict[str, Any]]


def _lidar(family: str) -> Case:
    import lidar_models

    columns = 5 if family in ('pillar', 'voxel') else 4
    build = lidar_models.tiny_center_point if columns == 5 else lidar_models.tiny_anchor_model
    model = build(family)
    for module in model.modules():
        if hasattr(module, 'indice_key'):
            from spconv.core import ConvAlgo

            module.algo = ConvAlgo.Native  # the only one that a CPU has
    scans = [lidar_models.random_scan(columns=columns, seed=seed) for seed in (0, 1)]
    return model, lidar_models.scan_batch(model, *scans)


def build(family: str, request: pytest.FixtureRequest) -> Case:
    if family in HEADS:
        model = build_lane_model(family)
        return model, lane_batch(model, request.getfixturevalue('tiny_lanes'))
    if family in STOCK:
        model = build_stock(stock_config(family))
        return model, image_batch(model, 2)
    pytest.importorskip('mmdet3d')
    if family in LIDAR:
        return _lidar(family)
    from test_adapters.test_mono3d_head import build as build_mono

    return build_mono(family)


def moved(data: Any, device: str) -> Any:
    if isinstance(data, dict):
        return {key: moved(value, device) for key, value in data.items()}
    if type(data) in (list, tuple):
        return type(data)(moved(value, device) for value in data)
    return data.to(device) if hasattr(data, 'to') else data


def leaves(raw: Any) -> Any:
    return map_tensors(lambda x: x.detach().clone().requires_grad_(x.is_floating_point()), raw)


def task_losses() -> list[type[TaskLoss]]:
    return [cls for cls in registered(MODELS) if issubclass(cls, TaskLoss)]


def gradients(raw: Any, losses: dict[str, Tensor]) -> list[Tensor]:
    total = sum(loss for loss in losses.values() if loss.requires_grad)
    if isinstance(total, Tensor):
        total.backward()
    found = [x for x in flatten(raw)[0] if x.is_floating_point()]
    return [torch.zeros_like(x) if x.grad is None else x.grad for x in found]


def run(adapter: Adapter, data: dict[str, Any]) -> dict[str, Any]:
    """Everything that an adapter and the losses do, by name."""
    with torch.no_grad():
        raw = adapter.raw_outputs(data)
    labels = adapter.pseudo_labels(raw, data, 0.0, 10)
    start = leaves(raw)
    own = adapter.loss(start, data, labels)
    results = {
        'raw_outputs': raw,
        'outputs': adapter.outputs(raw),
        'with_parts': adapter.with_parts(raw, {k: v + 1 for k, v in adapter.parts(raw).items()}),
        'decode': adapter.decode(raw, data),
        'pseudo_labels': labels,
        'loss': own,
        'gradients': gradients(start, {k: v for k, v in own.items() if 'loss' in k}),
    }
    for cls in task_losses():
        loss, start = cls().eval(), leaves(raw)
        try:
            loss.check(adapter)
        except QuantizationError:
            assert not isinstance(adapter, LaneHeadAdapter)  # a loss on lanes
            continue
        with torch.no_grad():
            target = loss.make_target(adapter, raw, data) if loss.needs_target else None
        parts = loss.parts(adapter, start, data, target)
        results[cls.__name__] = (target, parts, gradients(start, parts))
    return results


def results(make: Callable[[], Case], device: str) -> dict[str, list[Tensor]]:
    model, data = make()
    model.to(device)
    torch.manual_seed(0)
    found = run(build_adapter(model), moved(data, device))
    for name in ('raw_outputs', 'outputs', 'with_parts', 'loss', 'gradients'):
        assert {x.device.type for x in tensors_in(found[name])} <= {device}, name
    return {name: [x.cpu() for x in tensors_in(value)] for name, value in found.items()}


MOVED = pytest.mark.xfail(
    strict=True, reason='type_as moves a tensor to a real GPU, and not to the pretended one'
)
MARKS = dict(vfnet=[MOVED], reppoints=[MOVED])
LONG = (*MONO, 'rtmdet', 'rtmdet_ins', 'ssd', 'tood', 'vfnet', 'reppoints', 'yolof', 'yolov3')
LONG += ('mask_rcnn', 'cascade_rcnn', 'cascade_mask_rcnn')
SLOW = [pytest.param(name, marks=[pytest.mark.slow, *MARKS.get(name, [])]) for name in LONG]
QUICK = [name for name in FAMILIES if name not in LONG]


@pytest.mark.parametrize('family', [*QUICK, *SLOW])
def test_a_gpu_gives_what_the_cpu_gives(family, request):
    def make() -> Case:
        return build(family, request)

    expected = results(make, 'cpu')
    with simulated_cuda():
        found = results(make, 'cuda')
    assert found.keys() == expected.keys()
    for name, tensors in expected.items():
        assert len(found[name]) == len(tensors), name
        for x, y in zip(found[name], tensors, strict=True):
            assert_close(x, y, name)


def assert_close(x: Tensor, y: Tensor, name: str) -> None:
    """Not bit by bit: kernels of a CPU may add in another order where memory lies otherwise."""
    torch.testing.assert_close(
        x, y, rtol=1e-4, atol=1e-6, equal_nan=True, msg=lambda text: f'{name}: {text}'
    )

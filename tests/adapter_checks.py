"""What holds for the adapter of every detector family."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmptq.adapters import Adapter
from mmptq.quantization import QuantizationError
from mmptq.utils import trees


def check_backbone_gradients(model: nn.Module, adapter: Adapter, data: dict[str, Any]) -> None:
    """Every output depends on the backbone, and gradients get there."""
    backbone = getattr(model, 'pts_backbone', None) or model.backbone
    weight = next(p for p in backbone.parameters() if p.requires_grad and p.dim() == 4)
    for output in adapter.outputs(adapter.raw_outputs(copy.deepcopy(data))):
        for part in filter(torch.is_tensor, (output.scores, output.boxes, *output.regs.values())):
            (gradient,) = torch.autograd.grad(
                part.sum(), weight, retain_graph=True, allow_unused=True
            )
            assert gradient is not None and gradient.abs().sum() > 0


def check_parts(adapter: Adapter, raw: Any, others: tuple[str, ...] = ()) -> None:
    """Parts hold everything, and replacing one changes only that one.

    Args:
        others (tuple[str]): Parts that belong to no position of the outputs.
    """
    parts = adapter.parts(raw)
    assert all(isinstance(part, Tensor) for part in parts.values())
    assert_same(adapter.with_parts(raw, parts), raw)
    assert_same(adapter.with_parts(raw, {}), raw)
    for name, part in parts.items():
        replaced = adapter.parts(adapter.with_parts(raw, {name: part + 1}))
        assert replaced.keys() == parts.keys()
        changed = [key for key in parts if not torch.equal(replaced[key], parts[key])]
        assert changed == [name]
        assert torch.equal(replaced[name], part + 1)
    _check_gradients(adapter, raw, parts)
    first = next(iter(parts))
    with pytest.raises(QuantizationError, match=f"no output 'other': use one of .*{first}"):
        adapter.with_parts(raw, {'other': parts[first]})
    with pytest.raises(QuantizationError, match=f"output '{first}' of the head has shape"):
        adapter.with_parts(raw, {first: parts[first][..., None]})
    groups = adapter.head_groups(raw)
    assert sum(groups.values(), []) == list(parts)
    # A head is the scores or one regression of an entry of the outputs.
    outputs = adapter.outputs(raw)
    assert len(groups) == len(others) + sum(1 + len(output.regs) for output in outputs)
    named = {name.rpartition('.')[2] for name in groups}
    assert named >= {name for output in outputs for name in output.regs}


def _check_gradients(adapter: Adapter, raw: Any, parts: dict[str, Tensor]) -> None:
    free = {name: part.detach().clone().requires_grad_() for name, part in parts.items()}
    tensors, _ = trees.flatten(adapter.with_parts(raw, free))
    sum(2 * x.sum() for x in tensors if x.requires_grad).backward()
    assert all(torch.equal(x.grad, torch.full_like(x, 2)) for x in free.values())


def check_focus(adapter: Adapter, raw: Any) -> None:
    """Every part has a mask from 0 to 1 that broadcasts to it, and some part is a confidence."""
    parts, masks = adapter.parts(raw), adapter.focus(raw)
    assert masks.keys() == parts.keys()
    for name, mask in masks.items():
        assert mask.dim() == parts[name].dim() and not mask.requires_grad
        assert mask.expand_as(parts[name]).shape == parts[name].shape
        assert mask.min() >= 0 and mask.max() <= 1
    assert adapter.confidence_parts and adapter.confidence_parts.keys() <= parts.keys()
    for name, axis in adapter.confidence_parts.items():
        assert axis is None or parts[name].shape[axis] > 1


def assert_same(one: Any, other: Any) -> None:
    """Two trees have equal tensors at the same places."""
    (tensors, structure), (expected, nesting) = trees.flatten(one), trees.flatten(other)
    assert structure == nesting
    assert all(torch.equal(*pair) for pair in zip(tensors, expected, strict=True))


def check_decode(model: nn.Module, adapter: Adapter, raw: Any, data: dict, head: str) -> None:
    """``decode`` gives what prediction gives, runs only the head's part, and reads its argument.

    Args:
        head (str): A head whose outputs, reversed along the last axis, change the predictions.
    """
    with torch.no_grad():
        expected = model(**copy.deepcopy(data), mode='predict')
    before = trees.copy_tensors(raw)

    def fail(*_):
        raise AssertionError('ran')

    backbone = model.get_submodule('pts_backbone' if hasattr(model, 'pts_backbone') else 'backbone')
    handle = backbone.register_forward_pre_hook(fail)
    try:
        found = adapter.decode(raw, data)
        parts = adapter.parts(raw)
        turned = {name: parts[name].flip(-1) for name in adapter.head_groups(raw)[head]}
        other = adapter.decode(adapter.with_parts(raw, turned), data)
    finally:
        handle.remove()
    assert_same(raw, before)
    assert 'forward' not in vars(adapter.head) and 'extract_feat' not in vars(model)
    assert sum(map(len, map(predictions, expected))) > 0, 'a model without results shows nothing'
    for sample, want in zip(found, expected, strict=True):
        assert sample.metainfo.keys() == want.metainfo.keys()
        assert_equal(predictions(sample), predictions(want))
    with pytest.raises(AssertionError):
        for sample, want in zip(other, expected, strict=True):
            assert_equal(predictions(sample), predictions(want))


def predictions(sample: Any) -> list[Tensor]:
    """The numbers predicted for a sample."""
    if 'pred_lanes' in sample:
        return list(sample.pred_lanes)
    if 'pred_instances_3d' in sample:
        found = sample.pred_instances_3d
        boxes = [found.bboxes_3d.tensor, found.scores_3d, found.labels_3d]
    else:
        found = sample.pred_instances
        boxes = [found.bboxes, found.scores, found.labels]
    return boxes if len(found) else []


def assert_equal(one: list[Tensor], other: list[Tensor]) -> None:
    """Two lists hold equal tensors."""
    assert len(one) == len(other)
    assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))

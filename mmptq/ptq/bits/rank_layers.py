"""Ranking layers by what each costs as it is calibrated."""

import zlib
from functools import partial

import torch
from rich.progress import track
from torch import nn

from mmptq.ptq import parallel
from mmptq.ptq.context import PTQContext
from mmptq.ptq.search.output_loss import OutputLoss

from .layer_scores import LayerScores
from .score_layers import kept_piece


@torch.no_grad()
def rank_layers(
    ctx: PTQContext, scores: LayerScores, num_samples: int
) -> list[tuple[list[str], float]]:
    """Groups of layers that share a weight, and their output loss, the worst first.

    Each group is quantized alone, with the scales and the rounding that it has.

    Args:
        ctx (PTQContext): Calibrated.
        scores (LayerScores): Losses that are missing are measured, added and written.
        num_samples (int): Calibration samples, evenly spread.
    """
    groups: dict[int, list[str]] = {}
    for plan in ctx.plan.layers:
        if plan.name in ctx.layers:
            weight = ctx.layers[plan.name].module.weight
            groups.setdefault(id(weight), []).append(plan.name)
    keys = {names[0]: _key(ctx, names) for names in groups.values()}
    missing = [names for names in groups.values() if scores.get(names[0], keys[names[0]]) is None]
    if missing:
        with OutputLoss(ctx, num_samples) as loss:
            for names in track(missing, 'rank layers', disable=not parallel.is_main()):
                make = partial(_measure, keys[names[0]], loss, set(names))
                scores.put(names[0], **kept_piece(ctx, names[0], make))
        scores.save(ctx.work_dir)
    ranked = [(names, scores.get(names[0], keys[names[0]])) for names in groups.values()]
    return sorted(ranked, key=lambda item: -item[1])


def _measure(key: str, loss: OutputLoss, names: set[str]) -> dict[str, dict[str, float]]:
    return dict(losses={key: float(loss(names).mean())})


def _key(ctx: PTQContext, names: list[str]) -> str:
    """Name of the loss: it holds for these scales and this rounding only."""
    total = 0
    for name in names:
        layer = ctx.layers[name].module
        for slot in (layer.weight_quantizer, layer.input_quantizer):
            total = zlib.crc32(str(getattr(slot, 'scheme', None)).encode(), total)
            total = _add(slot, total)
    return f'as calibrated {total:08x}'


def _add(module: nn.Module, total: int) -> int:
    for tensor in module.state_dict().values():
        flat = tensor.detach().contiguous().view(-1).view(torch.uint8)
        total = zlib.crc32(flat.cpu().numpy().data, total)
    return total

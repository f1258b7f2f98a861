"""How far errors of one head move lanes."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmptq.adapters import Adapter


@torch.no_grad()
def head_distortions(
    adapter: Adapter,
    raw: Any,
    errors: dict[str, Tensor],
    data: dict[str, Any],
    ratios: Sequence[float],
    distortion: Any,
) -> dict[str, list[float]]:
    """Distortion of the lanes of a batch if one head has its error times a ratio.

    Args:
        adapter (Adapter): Adapter of the model.
        raw (Any): Raw outputs of the float model.
        errors (dict[str, Tensor]): What is added to the parts of ``raw``, by part.
        data (dict): The batch.
        ratios (Sequence[float]): Factors of the error.
        distortion (LaneDistortion): Compares lanes.

    Returns:
        dict[str, list[float]]: By head one value per ratio, means over the images in pixels.
    """
    lanes, parts = adapter.decode(raw, data), adapter.parts(raw)
    result: dict[str, list[float]] = {}
    for head, names in adapter.head_groups(raw).items():
        result[head] = []
        for ratio in ratios:
            changed = {name: parts[name] + ratio * errors[name] for name in names}
            found = adapter.decode(adapter.with_parts(raw, changed), data)
            scores = distortion(lanes, found)
            result[head].append(sum(scores) / len(scores))
    return result

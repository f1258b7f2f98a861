"""Two small road images that a lane model must overfit and give back."""

import cv2
import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper

from mmptq.lanes.geometry.lane_points import lane_xs

SIZE = (160, 96)  # width and height of the input
ORIGINAL_SCALE = 2.0  # original pixels per input pixel
LANES = (
    [[(30, 95), (60, 30)], [(130, 95), (110, 60), (85, 30)]],
    [[(75, 95), (90, 20)]],
)


def road_image(lanes: list) -> np.ndarray:
    """(H, W, 3) grey image with bright lanes."""
    image = np.full((SIZE[1], SIZE[0], 3), 80, dtype=np.uint8)
    for lane in lanes:
        cv2.polylines(image, [np.array(lane, dtype=np.int32)], False, (230, 230, 230), 3)
    return image


def road_sample(lanes: list, slots: list[int] | None = None) -> DetDataSample:
    """Sample of one image, as PackLaneInputs makes it; slots count the lanes from 0 by default."""
    original = (int(SIZE[1] * ORIGINAL_SCALE), int(SIZE[0] * ORIGINAL_SCALE))
    sample = DetDataSample(
        metainfo=dict(
            img_shape=SIZE[::-1],
            ori_shape=original,
            homography_matrix=np.diag([1 / ORIGINAL_SCALE, 1 / ORIGINAL_SCALE, 1.0]),
            num_lane_slots=4,
        )
    )
    sample.gt_lanes = [torch.tensor(lane, dtype=torch.float32) for lane in lanes]
    slots = list(range(len(lanes))) if slots is None else slots
    sample.gt_lane_slots = torch.tensor(slots, dtype=torch.long)
    return sample


def road_batch(all_lanes=LANES) -> dict:
    """Batch as the loader gives it, for ``train_step`` and ``test_step``; ``[]`` is no lane."""
    images = [torch.from_numpy(road_image(lanes)).permute(2, 0, 1) for lanes in all_lanes]
    return dict(inputs=images, data_samples=[road_sample(lanes) for lanes in all_lanes])


def build(model: dict) -> BaseModel:
    """Model of a config, with seeded random weights."""
    torch.manual_seed(0)
    model = MODELS.build(model)
    model.init_weights()
    return model


def overfit(model: BaseModel, steps: int, lr: float, all_lanes=LANES) -> dict[str, float]:
    """Train on the two images; losses of the last step."""
    optimizer = OptimWrapper(torch.optim.Adam(model.parameters(), lr=lr))
    model.train()
    for _ in range(steps):
        losses = model.train_step(road_batch(all_lanes), optimizer)
    model.eval()
    return {name: value.item() for name, value in losses.items()}


def worst_miss(model: BaseModel, all_lanes=LANES) -> float:
    """Largest mean distance along x of a predicted lane and the true one, in input pixels.

    Infinite where an image has another number of lanes, or one lacks half of the rows.
    """
    with torch.no_grad():
        samples = model.test_step(road_batch(all_lanes))
    worst = 0.0
    for sample, lanes in zip(samples, all_lanes, strict=True):
        if len(sample.pred_lanes) != len(lanes):
            return np.inf
        preds = [lane.cpu().double().numpy() / ORIGINAL_SCALE for lane in sample.pred_lanes]
        for lane in lanes:
            rows = np.arange(lane[-1][1], SIZE[1])
            truth = lane_xs(np.array(lane, dtype=np.float64), rows)
            misses = [np.abs(lane_xs(pred, rows) - truth) for pred in preds]
            covered = [np.isfinite(miss).mean() >= 0.5 for miss in misses]
            means = [np.nanmean(m) if c else np.inf for m, c in zip(misses, covered, strict=True)]
            worst = max(worst, min(means, default=np.inf))
    return float(worst)

"""How far a PTQ run moved the lanes of its own calibration images."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.registry import TASK_UTILS
from mmengine.structures import BaseDataElement

from mmptq.ptq import parallel
from mmptq.ptq.context import PTQContext
from mmptq.ptq.inputs.model_inputs import device_of
from mmptq.utils.detector_parts import LANE_HEAD
from mmptq.utils.files import complete_file
from mmptq.utils.seeds import seeded

from .lane_pictures import compare_lanes
from .line_chart import line_chart

WORST_FILE = 'worst_lanes.png'
WEIGHTS_FILE = 'head_weights.png'
NUM_IMAGES = 16


@contextmanager
def lane_report(ctx: PTQContext, num_images: int = NUM_IMAGES) -> Iterator[None]:
    """Compare the lanes before and after what happens in this context, without labels.

    The lane distortion of some calibration images is logged and recorded, and the worst image is
    drawn, ``worst_lanes.png`` in the work directory; so are weights of heads that a loss changed
    while it learned, ``head_weights.png``. Other models than lane detectors are left alone.

    Args:
        ctx (PTQContext): Before the conversion of the model.
        num_images (int): Calibration batches at most, evenly spread; 0 compares none. Defaults
            to 16.
    """
    compared = num_images > 0 and hasattr(ctx.model, LANE_HEAD)
    before = _predictions(ctx, num_images) if compared else []
    yield
    if compared:
        _report(ctx, before, _predictions(ctx, num_images))
    _draw_weights(ctx)


def _predictions(ctx: PTQContext, num_images: int) -> list[BaseDataElement]:
    """Predictions of this process's share of the images; no random stream goes on."""
    found = []
    with seeded(ctx.seed, [device_of(ctx.model)]):
        for data in ctx.batches('find lanes', num_images):
            samples = [sample for sample in ctx.predict(data) if 'pred_lanes' in sample]
            found += map(_lanes_alone, samples)
    return found


def _lanes_alone(sample: BaseDataElement) -> BaseDataElement:
    """Meta information and lanes on the CPU; images would fill the memory."""
    alone = type(sample)(metainfo=sample.metainfo)
    alone.pred_lanes = [np.array(lane.tolist()).reshape(-1, 2) for lane in sample.pred_lanes]
    return alone


def _report(ctx: PTQContext, before: list, after: list) -> None:
    distortion = TASK_UTILS.build(dict(type='LaneDistortion'))
    known = [pair for pair in zip(before, after, strict=True) if 'ori_shape' in pair[0].metainfo]
    scores = distortion(*zip(*known, strict=True)) if known else []
    own = [
        dict(
            image=str(one.metainfo.get('img_path', '')),
            distortion=score,
            float_lanes=len(one.pred_lanes),
            quantized_lanes=len(other.pred_lanes),
            lanes=dict(float=one.pred_lanes, quantized=other.pred_lanes),
        )
        for (one, other), score in zip(known, scores, strict=True)
    ]
    rows = [row for part in parallel.gather(own) for row in part]
    if not rows:
        return
    worst = max(rows, key=lambda row: row['distortion'])
    lanes = worst['lanes']
    rows = [{key: value for key, value in row.items() if key != 'lanes'} for row in rows]
    mean = sum(row['distortion'] for row in rows) / len(rows)
    empty = sum(not row['float_lanes'] for row in rows)
    ctx.logger.info(
        f'lane distortion of {len(rows)} calibration images, {empty} without float lanes: mean '
        f'{mean:.2f} pixels, worst {worst["distortion"]:.2f} ({Path(worst["image"]).name})'
    )
    ctx.record('lane_distortion', dict(mean=mean, worst=worst['image'], images=rows))
    if parallel.is_main():
        _draw_worst(ctx, worst['image'], lanes)


def _draw_worst(ctx: PTQContext, path: str, lanes: dict[str, Any]) -> None:
    image = cv2.imread(path) if Path(path).is_file() else None
    if image is not None:
        _write(ctx.work_dir / WORST_FILE, compare_lanes(image, lanes))


def _draw_weights(ctx: PTQContext) -> None:
    rows = [row['rows'] for row in ctx.run_record.records if row['kind'] == 'head_weights']
    if not rows or not parallel.is_main():
        return
    steps = [row['step'] for row in rows[-1]]
    lines = {name: [row[name] for row in rows[-1]] for name in rows[-1][0] if name != 'step'}
    _write(ctx.work_dir / WEIGHTS_FILE, line_chart(steps, lines, 'weights of heads', 'step'))


def _write(path: Path, picture: np.ndarray) -> None:
    with complete_file(path) as temporary:
        temporary.write_bytes(cv2.imencode('.png', picture)[1].tobytes())

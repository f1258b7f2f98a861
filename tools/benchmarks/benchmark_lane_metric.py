"""Time and memory of the CULane metric on generated lanes, extrapolated to the CULane test set.

    python tools/benchmarks/benchmark_lane_metric.py [--images 300] [--seed 0]

Each image has four true lanes of 34 points (a point every 10 rows, as in CULane) and four
predicted ones a few pixels aside. One process on one thread; lanes are made outside of the timing.
"""

import logging
import resource
import time
import tracemalloc

import cv2
import numpy as np
from mmdet.registry import METRICS
from mmengine.logging import MMLogger

import mmptq  # noqa: F401
from mmptq.utils.cli import tool_parser

CULANE_TEST_IMAGES = 34680
ROWS = np.arange(590, 250, -10.0)


def make_sample(rng: np.random.Generator) -> dict:
    """A data sample with four curved lanes that meet at the horizon, and predictions nearby."""
    horizon, bend = rng.uniform(700, 940), rng.normal(0, 1e-3)
    fall = ROWS - 250
    slopes = np.array([-2.2, -0.7, 0.7, 2.2]) + rng.normal(0, 0.1, 4)
    gt = [np.stack([horizon + s * fall + bend * fall**2, ROWS], axis=1) for s in slopes]
    pred = [lane + [rng.normal(0, 6), 0] + rng.normal(0, 1, lane.shape) for lane in gt]
    return dict(pred_lanes=pred, eval_ann_info=dict(lanes=gt, categories=('normal',)))


def main() -> None:
    parser = tool_parser(__doc__)
    parser.add_argument('--images', type=int, default=300, help='number of generated images')
    parser.add_argument('--seed', type=int, default=0, help='of the generated lanes')
    args = parser.parse_args()
    cv2.setNumThreads(1)
    MMLogger.get_current_instance().setLevel(logging.WARNING)
    rng = np.random.default_rng(args.seed)
    samples = [make_sample(rng) for _ in range(args.images)]

    metric = METRICS.build(dict(type='CULaneMetric'))
    metric.process({}, samples[:5])
    metric.results.clear()
    wall, cpu = time.perf_counter(), time.process_time()
    for sample in samples:
        metric.process({}, [sample])
    scores = metric.compute_metrics(metric.results)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu

    tracemalloc.start()
    kept = METRICS.build(dict(type='CULaneMetric'))
    for sample in samples:
        kept.process({}, [sample])
    held, _ = tracemalloc.get_traced_memory()
    scale = CULANE_TEST_IMAGES / args.images
    print(f'{args.images} images, F1 {scores["F1"]:.4f}, mF1 {scores["mF1"]:.4f}')
    print(
        f'{1000 * cpu / args.images:.2f} ms CPU ({1000 * wall / args.images:.2f} ms wall) per image'
    )
    print(
        f'{CULANE_TEST_IMAGES} images: {cpu * scale:.0f} s CPU ({wall * scale:.0f} s wall) on one '
        f'core, {held * scale / 2**20:.0f} MiB of results'
    )
    print(f'peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f} MiB')


if __name__ == '__main__':
    main()

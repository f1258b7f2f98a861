"""CULane's F1 of lanes."""

from collections.abc import Sequence

import numpy as np
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from mmptq.lanes.geometry.lane_points import read_lanes
from mmptq.lanes.geometry.lane_raster import lane_ious

from .lane_matching import count_hits, precision_recall_f1

IOU_THRS = np.arange(50, 100, 5) / 100


@METRICS.register_module()
class CULaneMetric(BaseMetric):
    """F1, precision and recall of lanes drawn 30 pixels wide, at IoU 0.5 and at higher thresholds.

    Agrees with CULane's evaluator (https://github.com/XingangPan/SCNN, ``tools/lane_evaluation``)
    pixel by pixel, except in cases where that evaluator fails: see the notes of
    :func:`~mmptq.lanes.evaluation.lane_matching.count_hits` and
    :func:`~mmptq.lanes.geometry.lane_raster.interpolate_lane`. Counts are summed over all images
    before dividing. A lane with fewer than two points counts but is never a hit; the same holds for
    a predicted lane with NaN or infinite values.

    Reads ``pred_lanes`` (in pixels of the original image) and ``eval_ann_info`` of each sample,
    which :class:`~mmptq.lanes.datasets.LaneDataset` provides in test mode; no annotation file is
    needed.

    Args:
        image_size (tuple[int, int]): Width and height of the images that lanes are drawn in.
        lane_width (int): Drawn width in pixels.
        fp_categories (Sequence[str]): Categories without true lanes, for which false positives are
            reported instead of F1. Their images also count in the total.
        collect_device (str): Device on which results of several processes are gathered.
        prefix (str, optional): Prefix of metric names. Defaults to ``default_prefix``.

    Example:
        >>> val_evaluator = dict(type='CULaneMetric')
        >>> val_evaluator = dict(type='CULaneMetric', image_size=(820, 295), lane_width=15)
    """

    default_prefix = 'culane'

    def __init__(
        self,
        image_size: tuple[int, int] = (1640, 590),
        lane_width: int = 30,
        fp_categories: Sequence[str] = ('cross',),
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if len(image_size) != 2 or min(image_size) < 1 or lane_width < 1:
            raise ValueError(
                f'image_size and lane_width of CULaneMetric must be positive integers, got '
                f'image_size={tuple(image_size)}, lane_width={lane_width}'
            )
        self.image_size = tuple(image_size)
        self.lane_width = lane_width
        self.fp_categories = tuple(fp_categories)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count lanes and hits of each sample.

        Args:
            data_batch (dict): Not used; part of mmengine's interface.
            data_samples (Sequence[dict]): With ``pred_lanes``, ``eval_ann_info`` and, if known,
                ``ori_shape`` and ``img_path``.

        Raises:
            ValueError: If a key is missing or the image has another size.
        """
        for sample in data_samples:
            gt_lanes, pred_lanes = read_lanes(sample, type(self).__name__)
            height, width = sample.get('ori_shape', self.image_size[::-1])[:2]
            if (width, height) != self.image_size:
                raise ValueError(
                    f"'{sample.get('img_path')}' is {width}x{height} pixels, but CULaneMetric "
                    f'expects {self.image_size[0]}x{self.image_size[1]}: set its image_size, and '
                    'scale its lane_width accordingly'
                )
            pred_lanes = [p if np.isfinite(p).all() else np.empty((0, 2)) for p in pred_lanes]
            ious = lane_ious(gt_lanes, pred_lanes, self.image_size, self.lane_width)
            categories = sample['eval_ann_info'].get('categories', ())
            counts = [len(pred_lanes), len(gt_lanes), *count_hits(ious, IOU_THRS)]
            self.results.append((np.array(counts, dtype=np.int32), tuple(categories)))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Scores of all images and of each category.

        Args:
            results (list[tuple]): One per sample, from :meth:`process`.

        Returns:
            dict[str, float]: ``F1``, ``precision`` and ``recall`` at IoU 0.5, ``F1_75``, ``mF1``
            (mean of F1 at 0.5, 0.55, ... 0.95), ``TP``, ``FP``, ``FN``; per category
            ``F1_<category>`` or ``FP_<category>``. NaN for a division of zero by zero.
        """
        totals, by_category = np.zeros(2 + len(IOU_THRS), dtype=np.int64), {}
        for counts, categories in results:
            totals += counts
            for name in categories:
                by_category[name] = by_category.get(name, 0) + counts.astype(np.int64)
        num_pred, num_gt, hits = totals[0], totals[1], totals[2:]
        precision, recall, f1 = precision_recall_f1(hits, num_pred, num_gt)
        metrics = dict(
            F1=f1[0], precision=precision[0], recall=recall[0], F1_75=f1[5], mF1=f1.mean()
        )
        metrics.update(TP=hits[0], FP=num_pred - hits[0], FN=num_gt - hits[0])
        for name, counts in sorted(by_category.items()):
            num_pred, num_gt, num_hits = counts[:3]
            if name in self.fp_categories:
                metrics[f'FP_{name}'] = num_pred - num_hits
            else:
                metrics[f'F1_{name}'] = precision_recall_f1(num_hits, num_pred, num_gt)[2]
        MMLogger.get_current_instance().info(
            f'CULane F1 {metrics["F1"]:.4f} at IoU 0.5 over {len(results)} images: '
            f'{totals[1]} lanes, {totals[0]} predictions, {hits[0]} hits'
        )
        return {name: value.item() for name, value in metrics.items()}

"""KITTI-like 3D detection metric that needs no GPU."""

from collections.abc import Sequence

import numpy as np
from mmdet3d.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from .average_precision import average_precision, match_detections
from .box_overlaps_3d import rotated_iou_3d


@METRICS.register_module()
class RotatedIoU3DMetric(BaseMetric):
    """Average precision of 3D boxes by rotated IoU, per class and averaged.

    Reads what every ``Det3DDataset`` in test mode hands over (``eval_ann_info``), so it takes no
    annotation file. Ground truths without a LiDAR point (``num_lidar_pts == 0``) or with a centre
    outside ``point_cloud_range`` seen from above are ignored: they are no misses and detections on
    them are no errors; nor are unmatched detections outside that range. All other objects count,
    whatever their KITTI difficulty; classes that are not evaluated play no role.

    Note:
        KITTI's own code evaluates precision at score thresholds chosen from the true positives;
        here precision is read off the full curve, which is the same up to interpolation.

    Args:
        iou_thr (float, Sequence[float] or dict[str, float or Sequence[float]]): Smallest IoU of a
            match, for all classes or per class name. Several are averaged, as COCO does.
        point_cloud_range (Sequence[float], optional): x, y, z minimum then maximum, in metres.
        recall_points (int or str): 40, 11 or 'area', see :func:`average_precision`.
        collect_device (str): Where results of several processes are gathered.
        prefix (str, optional): Metric name prefix, by default ``default_prefix``.

    Example:
        >>> val_evaluator = dict(type='RotatedIoU3DMetric', iou_thr=dict(Car=0.7, Cyclist=0.5))
    """

    default_prefix = 'iou3d'

    def __init__(
        self,
        iou_thr: float | Sequence[float] | dict = 0.7,
        point_cloud_range: Sequence[float] | None = None,
        recall_points: int | str = 40,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        average_precision(np.empty(0), np.empty(0), 0, recall_points)
        if point_cloud_range is not None and len(point_cloud_range) != 6:
            raise ValueError(
                f'point_cloud_range needs 6 numbers (x, y, z minimum, then maximum), '
                f'not {len(point_cloud_range)}'
            )
        self.iou_thr = iou_thr
        self.point_cloud_range = point_cloud_range
        self.recall_points = recall_points

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Reduce each sample to scores, labels and overlaps.

        Args:
            data_batch (dict): Unused, part of the protocol.
            data_samples (Sequence[dict]): With ``pred_instances_3d`` and ``eval_ann_info``.

        Raises:
            ValueError: When a sample has no annotations or its boxes do not turn around z.
        """
        for sample in data_samples:
            truth, pred = sample.get('eval_ann_info'), sample['pred_instances_3d']
            if truth is None:
                raise ValueError(
                    f'sample {sample.get("sample_idx")} has no eval_ann_info: set test_mode=True '
                    'and leave load_eval_anns=True in the evaluated dataset'
                )
            for boxes in (truth['gt_bboxes_3d'], pred['bboxes_3d']):
                if boxes.YAW_AXIS != 2:
                    raise ValueError(
                        f'{type(boxes).__name__} turn around axis {boxes.YAW_AXIS}, not z: '
                        "set box_type_3d='LiDAR' in the evaluated dataset"
                    )
            gt_boxes, boxes = truth['gt_bboxes_3d'].tensor.cpu(), pred['bboxes_3d'].tensor.cpu()
            points = truth.get('num_lidar_pts', np.ones(len(gt_boxes)))
            result = dict(
                scores=pred['scores_3d'].cpu().numpy(),
                labels=pred['labels_3d'].cpu().numpy(),
                outside=self._outside(boxes.numpy()),
                ious=rotated_iou_3d(boxes, gt_boxes).numpy(),
                gt_labels=np.asarray(truth['gt_labels_3d']),
                gt_ignored=self._outside(gt_boxes.numpy()) | (np.asarray(points) == 0),
            )
            self.results.append(result)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Average precision of each class, and their mean over classes with ground truths.

        Args:
            results (list[dict]): One per sample, from :meth:`process`.

        Returns:
            dict[str, float]: ``mAP``, ``AP_<class>`` and, where a class has several thresholds,
            ``AP_<class>@<threshold>``; between 0 and 1, NaN for a class without ground truths.
        """
        logger = MMLogger.get_current_instance()
        metrics = {}
        class_aps = []
        for label, name in enumerate(self.dataset_meta['classes']):
            thresholds = self._thresholds(name)
            aps = [self._class_ap(results, label, threshold) for threshold in thresholds]
            metrics[f'AP_{name}'] = float(np.mean(aps))
            class_aps.append(metrics[f'AP_{name}'])
            if len(thresholds) > 1:
                metrics.update(
                    {f'AP_{name}@{t:.2f}': ap for t, ap in zip(thresholds, aps, strict=True)}
                )
            num_gt = sum(((r['gt_labels'] == label) & ~r['gt_ignored']).sum() for r in results)
            logger.info(
                f'{name}: AP {metrics[f"AP_{name}"]:.4f} at 3D IoU '
                f'{", ".join(f"{t:g}" for t in thresholds)} over {num_gt} ground truths'
            )
        known = [ap for ap in class_aps if not np.isnan(ap)]
        metrics['mAP'] = float(np.mean(known)) if known else float('nan')
        return metrics

    def _class_ap(self, results: list, label: int, iou_thr: float) -> float:
        """Average precision of one class at one threshold."""
        scores, outcomes, num_gt = [np.empty(0)], [np.empty(0, dtype=np.int64)], 0
        for result in results:
            mine, true = result['labels'] == label, result['gt_labels'] == label
            gt_ignored = result['gt_ignored'][true]
            ious = result['ious'][mine][:, true]
            outcome = match_detections(ious, result['scores'][mine], gt_ignored, iou_thr)
            counts = ~((outcome == -1) | ((outcome == 0) & result['outside'][mine]))
            scores.append(result['scores'][mine][counts])
            outcomes.append(outcome[counts])
            num_gt += int((~gt_ignored).sum())
        return average_precision(
            np.concatenate(scores), np.concatenate(outcomes), num_gt, self.recall_points
        )

    def _thresholds(self, name: str) -> list[float]:
        """IoU thresholds of a class."""
        iou_thr = self.iou_thr
        if isinstance(iou_thr, dict):
            if name not in iou_thr:
                raise KeyError(f'iou_thr of RotatedIoU3DMetric has no threshold for {name!r}')
            iou_thr = iou_thr[name]
        return list(iou_thr) if isinstance(iou_thr, Sequence) else [iou_thr]

    def _outside(self, boxes: np.ndarray) -> np.ndarray:
        """(N,) bool, boxes whose centre lies outside the range seen from above."""
        if self.point_cloud_range is None:
            return np.zeros(len(boxes), dtype=bool)
        low, high = np.array(self.point_cloud_range[:2]), np.array(self.point_cloud_range[3:5])
        return ((boxes[:, :2] < low) | (boxes[:, :2] > high)).any(1)

"""3D detection metric like KITTI's that runs without a GPU."""

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

    Reads ``eval_ann_info``, which every ``Det3DDataset`` provides in test mode; no annotation file
    is needed. Ground truths without LiDAR points (``num_lidar_pts == 0``) or with a centre outside
    ``point_cloud_range`` in bird's eye view are ignored: they are not missed objects, and
    detections that match them are not errors. Unmatched detections outside this range are ignored
    too. All other objects count, regardless of their KITTI difficulty.

    Note:
        KITTI's code evaluates precision at score thresholds chosen from the true positives; here it
        is read from the complete curve. The results agree up to interpolation.

    Args:
        iou_thr (float, Sequence[float] or dict[str, float or Sequence[float]]): Minimum IoU of a
            match, for all classes or per class name. The AP of several thresholds is averaged, as
            in COCO.
        point_cloud_range (Sequence[float], optional): Minimum x, y, z, then maximum x, y, z, in
            metres.
        recall_points (int or str): 40, 11 or 'area', see :func:`average_precision`.
        collect_device (str): Device on which results of several processes are gathered.
        prefix (str, optional): Prefix of metric names. Defaults to ``default_prefix``.

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
                'point_cloud_range must have 6 numbers (minimum x, y, z, then maximum x, y, z), '
                f'got {len(point_cloud_range)}'
            )
        self.iou_thr = iou_thr
        self.point_cloud_range = point_cloud_range
        self.recall_points = recall_points

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Store scores, labels and overlaps of each sample.

        Args:
            data_batch (dict): Not used; part of mmengine's interface.
            data_samples (Sequence[dict]): With ``pred_instances_3d`` and ``eval_ann_info``.

        Raises:
            ValueError: If a sample has no annotations, or its boxes do not rotate around z.
        """
        for sample in data_samples:
            truth, pred = sample.get('eval_ann_info'), sample['pred_instances_3d']
            if truth is None:
                raise ValueError(
                    f'sample {sample.get("sample_idx")} has no eval_ann_info: set test_mode=True '
                    'and load_eval_anns=True in the evaluated dataset'
                )
            for boxes in (truth['gt_bboxes_3d'], pred['bboxes_3d']):
                if boxes.YAW_AXIS != 2:
                    raise ValueError(
                        f'{type(boxes).__name__} rotate around axis {boxes.YAW_AXIS}, not z: '
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
            dict[str, float]: ``mAP``, ``AP_<class>`` and, for classes with several thresholds,
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
        """(N,) bool, boxes with a centre outside the range in bird's eye view."""
        if self.point_cloud_range is None:
            return np.zeros(len(boxes), dtype=bool)
        low, high = np.array(self.point_cloud_range[:2]), np.array(self.point_cloud_range[3:5])
        return ((boxes[:, :2] < low) | (boxes[:, :2] > high)).any(1)

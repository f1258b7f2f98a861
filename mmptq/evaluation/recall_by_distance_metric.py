"""Recall of a LiDAR detector by distance."""

from collections.abc import Sequence

import numpy as np
from mmdet3d.registry import METRICS
from mmengine.evaluator import BaseMetric

from .center_matching import match_centers


@METRICS.register_module()
class RecallByDistanceMetric(BaseMetric):
    """Recall of objects with a nearby detection of their class, grouped by distance.

    Reads ``eval_ann_info``, which every ``Det3DDataset`` provides in test mode; no annotation file
    is needed. Objects without LiDAR points are ignored. Each detection, in the order of scores,
    matches at most one object: the nearest within ``match_distance`` in bird's eye view.

    Args:
        bounds (Sequence[float]): Increasing distances from the sensor in metres that separate the
            groups; the last group has no upper bound. Defaults to (30, 50).
        match_distance (float): Maximum distance of a match in metres. Defaults to 2.0.
        score_thr (float): Detections with a lower score are ignored. Defaults to 0.1.
        collect_device (str): Device on which results of several processes are gathered.
        prefix (str, optional): Prefix of metric names. Defaults to ``default_prefix``.

    Example:
        >>> val_evaluator = [_base_.val_evaluator, dict(type='RecallByDistanceMetric')]
    """

    default_prefix = 'recall'

    def __init__(
        self,
        bounds: Sequence[float] = (30, 50),
        match_distance: float = 2.0,
        score_thr: float = 0.1,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if not bounds or list(bounds) != sorted(set(bounds)) or bounds[0] <= 0:
            raise ValueError(
                f'bounds of RecallByDistanceMetric must increase from above 0, got {bounds!r}'
            )
        self.bounds = list(bounds)
        self.match_distance = match_distance
        self.score_thr = score_thr

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Store the distances of the objects of each sample and whether they were found.

        Args:
            data_batch (dict): Not used; part of mmengine's interface.
            data_samples (Sequence[dict]): With ``pred_instances_3d`` and ``eval_ann_info``.

        Raises:
            ValueError: If a sample has no annotations.
        """
        for sample in data_samples:
            truth, pred = sample.get('eval_ann_info'), sample['pred_instances_3d']
            if truth is None:
                raise ValueError(
                    f'sample {sample.get("sample_idx")} has no eval_ann_info: set test_mode=True '
                    'and load_eval_anns=True in the evaluated dataset'
                )
            kept = pred['scores_3d'].cpu().numpy() >= self.score_thr
            centers = truth['gt_bboxes_3d'].gravity_center[:, :2].cpu().numpy()
            matched = match_centers(
                pred['bboxes_3d'].gravity_center[:, :2].cpu().numpy()[kept],
                pred['labels_3d'].cpu().numpy()[kept],
                pred['scores_3d'].cpu().numpy()[kept],
                centers,
                np.asarray(truth['gt_labels_3d']),
                self.match_distance,
            )
            counts = np.asarray(truth.get('num_lidar_pts', np.ones(len(centers)))) > 0
            counts &= np.asarray(truth['gt_labels_3d']) >= 0
            distances = np.linalg.norm(centers, axis=1)
            self.results.append(dict(distances=distances[counts], found=matched[counts] >= 0))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Recall of each distance group and of all objects.

        Args:
            results (list[dict]): One per sample, from :meth:`process`.

        Returns:
            dict[str, float]: ``0-30m``, ``30-50m``, ``50m+`` (for the default bounds) and ``all``,
            each with ``num_<group>``, the number of objects; NaN for an empty group.
        """
        distances = np.concatenate([result['distances'] for result in results])
        found = np.concatenate([result['found'] for result in results])
        metrics = {}
        edges = [0.0, *self.bounds, np.inf]
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            name = f'{low:g}m+' if high == np.inf else f'{low:g}-{high:g}m'
            group = (distances >= low) & (distances < high)
            metrics[name] = float(found[group].mean()) if group.any() else float('nan')
            metrics[f'num_{name}'] = int(group.sum())
        metrics['all'] = float(found.mean()) if len(found) else float('nan')
        metrics['num_all'] = len(found)
        return metrics

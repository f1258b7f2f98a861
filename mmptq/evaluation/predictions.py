"""What a model predicted for one sample, in a compact form."""

from dataclasses import dataclass
from typing import Any

import numpy as np

BOXES, BOXES_3D, LANES, OTHER = 'boxes', 'boxes_3d', 'lanes', 'other'
# Predictions of a sample that are kept, those of the highest scores.
MOST_KEPT = 300


@dataclass
class Predictions:
    """Predictions of one sample, in the order of scores.

    Attributes:
        kind (str): 'boxes', 'boxes_3d', 'lanes' or 'other' (scores only).
        shapes (np.ndarray or list): (N, 4) x1, y1, x2, y2 in pixels; (N, 7) or more x, y, z, sizes,
            heading as LiDAR boxes (x forward, y left, metres); or N lanes (P, 2) in pixels.
        scores (np.ndarray): (N,) float32; 1 for lanes, which have none.
        labels (np.ndarray): (N,) classes.
        source (str): File of the image or scan, where known.
    """

    kind: str
    shapes: Any
    scores: np.ndarray
    labels: np.ndarray
    source: str = ''

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, threshold: float) -> 'Predictions':
        """Those with at least this score."""
        return self._at(np.flatnonzero(self.scores >= threshold))

    def first(self, count: int) -> 'Predictions':
        """Those with the highest scores."""
        return self if len(self) <= count else self._at(np.arange(count))

    def _at(self, kept: np.ndarray) -> 'Predictions':
        lanes = self.kind == LANES
        shapes = [self.shapes[index] for index in kept] if lanes else self.shapes[kept]
        return Predictions(self.kind, shapes, self.scores[kept], self.labels[kept], self.source)


def predictions_of(sample: dict[str, Any]) -> Predictions:
    """The predictions in a data sample.

    Args:
        sample (dict): As metrics get it: ``pred_instances_3d``, ``pred_instances`` or
            ``pred_lanes``, and meta information.
    """
    source = next((sample[k] for k in ('img_path', 'lidar_path') if sample.get(k)), '')
    if 'pred_lanes' in sample:
        lanes = [np.asarray(_numpy(lane), dtype=np.float32) for lane in sample['pred_lanes']]
        lanes = [lane.reshape(-1, 2) for lane in lanes]
        return Predictions(LANES, lanes, np.ones(len(lanes)), np.zeros(len(lanes), int), source)
    spatial = sample.get('pred_instances_3d') or {}
    if 'bboxes_3d' in spatial and len(spatial['bboxes_3d']):
        source = sample.get('lidar_path') or source
        boxes = _lidar_boxes(spatial['bboxes_3d'])
        return _ordered(BOXES_3D, boxes, spatial['scores_3d'], spatial['labels_3d'], source)
    flat = sample.get('pred_instances') or {}
    if 'scores' not in flat and 'bboxes_3d' in spatial:
        return Predictions(BOXES_3D, np.zeros((0, 7)), np.zeros(0), np.zeros(0, int), source)
    scores = _numpy(flat.get('scores', []))
    labels = _numpy(flat.get('labels', np.zeros(len(scores))))
    boxes = _numpy(flat.get('bboxes', np.zeros((len(scores), 0))))
    kind = BOXES if boxes.ndim == 2 and boxes.shape[-1] == 4 else OTHER
    return _ordered(kind, boxes, scores, labels, source)


def _ordered(kind: str, shapes: Any, scores: Any, labels: Any, source: Any) -> Predictions:
    scores = np.asarray(_numpy(scores), dtype=np.float32)
    order = np.argsort(-scores, kind='stable')[:MOST_KEPT]
    shapes = np.asarray(shapes, dtype=np.float32)[order]
    labels = np.asarray(_numpy(labels)).astype(np.int32)[order]
    return Predictions(kind, shapes, scores[order], labels, str(source))


def _lidar_boxes(boxes: Any) -> np.ndarray:
    """(N, 7 or more) as in LiDAR coordinates: x forward, y left, z up."""
    if type(boxes).__name__ == 'CameraInstance3DBoxes':
        from mmdet3d.structures import Box3DMode

        boxes = boxes.convert_to(Box3DMode.LIDAR)
    return _numpy(boxes.tensor)


def _numpy(values: Any) -> np.ndarray:
    values = getattr(values, 'tensor', values)  # box structures
    if hasattr(values, 'detach'):
        values = values.detach().cpu().float() if values.is_floating_point() else values.cpu()
    return np.asarray(values)

"""Non-maximum suppression as operators of ONNX."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmptq.quantization import QuantizationError

# Scores are probabilities; what cannot be a detection gets this one.
INVALID = -1.0
VALID_ABOVE = -0.5
# For a head that gives all boxes that are left, such as YOLOX.
MOST = 300


@dataclass(frozen=True)
class Suppression:
    """What a head does with its decoded boxes, from its test settings.

    Args:
        iou (float, optional): A box is suppressed by a better one of its class with a larger IoU;
            None keeps all boxes.
        most (int): Detections of an image, the best first.
        agnostic (bool): Whether boxes of all classes suppress each other.
    """

    iou: float | None
    most: int
    agnostic: bool = False

    @classmethod
    def from_config(cls, cfg: dict[str, Any]) -> 'Suppression':
        """From the ``test_cfg`` of a head.

        Raises:
            QuantizationError: For a suppression that ONNX has not.
        """
        nms = dict(cfg.get('nms') or {})
        most = cfg.get('max_per_img', MOST)
        if not nms:
            return cls(None, most)
        kind = nms.pop('type', 'nms')
        iou, agnostic = nms.pop('iou_threshold', None), bool(nms.pop('class_agnostic', False))
        limit = nms.pop('max_num', -1)
        nms.pop('split_thr', None)  # changes the order of work only
        kind = kind if isinstance(kind, str) else getattr(kind, '__name__', str(kind))
        if kind != 'nms' or iou is None:
            raise QuantizationError(
                f"--end-to-end: ONNX has no operator for test_cfg.nms of type '{kind}': set "
                "test_cfg.nms=dict(type='nms', iou_threshold=...), or leave out --end-to-end"
            )
        other = [key for key, value in nms.items() if value]
        if other:
            raise QuantizationError(
                f'--end-to-end: test_cfg.nms.{other[0]} cannot be written in ONNX: remove it, or '
                'leave out --end-to-end'
            )
        return cls(float(iou), min(most, limit) if limit > 0 else most, agnostic)

    def apply(
        self, boxes: Tensor, scores: Tensor, labels: Tensor, pad: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The best boxes of each image.

        Args:
            boxes (Tensor): (B, M, 4), corners.
            scores (Tensor): (B, M); below -0.5 for what is no detection.
            labels (Tensor): (B, M) int64.
            pad (bool): Whether M may be below ``most`` in some input.

        Returns:
            tuple: boxes (B, N, 4), scores (B, N), labels (B, N). Where an image has fewer
            detections, the rest has score 0, label -1 and box 0.
        """
        valid = scores > VALID_ABOVE
        boxes = torch.where(valid[..., None], boxes, torch.zeros_like(boxes))
        if self.iou is not None:
            shifted = boxes
            if not self.agnostic:
                # Boxes of different classes are moved apart, as mmcv does.
                shifted = boxes + (labels * (boxes.amax() + 1))[..., None]
            kept = _Keep.apply(shifted, scores, self.most, self.iou)
            scores = torch.where(kept > 0, scores, torch.full_like(scores, INVALID))
        scores, index = best_of(scores, self.most, pad)
        valid = scores > VALID_ABOVE
        labels = torch.where(valid, labels.gather(1, index), torch.full_like(index, -1))
        boxes = take(boxes, index) * valid[..., None].to(boxes)
        return boxes, torch.where(valid, scores, torch.zeros_like(scores)), labels


def best_of(scores: Tensor, count: int, pad: bool) -> tuple[Tensor, Tensor]:
    """The best scores of each row with their positions; (B, N) of (B, M).

    Args:
        scores (Tensor): (B, M).
        count (int): N; M if that is smaller and ``pad`` is not set.
        pad (bool): Whether the file's M may be smaller: such rows end with ``INVALID``, and
            position 0.
    """
    if not pad:
        return scores.topk(min(count, scores.shape[1]), 1)
    missing = torch.full_like(scores[:, :1], INVALID).expand(-1, count)
    scores, index = torch.cat([scores, missing], 1).topk(count, 1)
    return scores, torch.where(scores > VALID_ABOVE, index, torch.zeros_like(index))


def take(rows: Tensor, index: Tensor) -> Tensor:
    """Rows (B, N, D) of (B, M, D) by position (B, N)."""
    return rows.gather(1, index[..., None].expand(-1, -1, rows.shape[-1]))


class _Keep(torch.autograd.Function):
    """1 for each box that is left, 0 for others: (B, M) of boxes (B, M, 4) and scores (B, M)."""

    @staticmethod
    def forward(ctx, boxes: Tensor, scores: Tensor, most: int, iou: float) -> Tensor:
        from mmcv.ops import nms

        kept = torch.zeros_like(scores)
        for row, b, s in zip(kept, boxes, scores, strict=True):
            (valid,) = (s > VALID_ABOVE).nonzero(as_tuple=True)
            if len(valid):
                _, index = nms(b[valid].contiguous(), s[valid].contiguous(), iou)
                row[valid[index[:most]]] = 1
        return kept

    @staticmethod
    def symbolic(g, boxes, scores, most: int, iou: float):
        def constant(value, dtype):
            return g.op('Constant', value_t=torch.tensor(value, dtype=dtype, device='cpu'))

        def shape_of(x):
            return g.op('Shape', x)

        one = constant([1], torch.int64)
        selected = g.op(
            'NonMaxSuppression',
            boxes,
            g.op('Unsqueeze', scores, one),
            constant([most], torch.int64),
            constant([iou], torch.float32),
            constant([VALID_ABOVE], torch.float32),
        )
        # Rows are (image, class, box), and there is one class.
        pairs = g.op('Gather', selected, constant([0, 2], torch.int64), axis_i=1)
        count = g.op('Gather', shape_of(pairs), constant([0], torch.int64), axis_i=0)
        ones = g.op('Expand', constant([1.0], torch.float32), count)
        zeros = g.op('Expand', constant([0.0], torch.float32), shape_of(scores))
        return g.op('ScatterND', zeros, pairs, ones).setType(scores.type())

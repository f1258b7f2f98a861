"""Accuracy of lanes as TuSimple measures it."""

from collections.abc import Sequence

import numpy as np
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric

from mmptq.lanes.geometry.lane_points import lane_xs, read_lanes

from .tusimple_accuracy import tusimple_image_scores


@METRICS.register_module()
class TuSimpleMetric(BaseMetric):
    """Accuracy, false positive and false negative rate of TuSimple, each averaged over images.

    Predicted lanes are read at the annotation's rows (``h_samples``), linear between their points
    and absent above and below them; see :func:`tusimple_image_scores` for what follows. Run times
    play no role.

    Reads ``pred_lanes`` (original image pixels) and ``eval_ann_info`` (with ``h_samples`` and
    ``lane_xs``) of each sample, which :class:`~mmptq.lanes.datasets.TuSimpleLaneDataset` hands
    over in test mode.

    Example:
        >>> val_evaluator = dict(type='TuSimpleMetric')
    """

    default_prefix = 'tusimple'

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Reduce each sample to three numbers.

        Args:
            data_batch (dict): Unused, part of the protocol.
            data_samples (Sequence[dict]): With ``pred_lanes`` and ``eval_ann_info``.

        Raises:
            ValueError: When a sample lacks one of them.
        """
        for sample in data_samples:
            _, pred_lanes = read_lanes(sample, type(self).__name__)
            truth = sample['eval_ann_info']
            if 'h_samples' not in truth:
                raise ValueError(
                    f"the annotation of '{sample.get('img_path')}' has no h_samples: "
                    'TuSimpleMetric evaluates a TuSimpleLaneDataset'
                )
            rows = np.asarray(truth['h_samples'])
            pred_xs = [lane_xs(points, rows) for points in pred_lanes]
            self.results.append(tusimple_image_scores(pred_xs, truth['lane_xs'], rows))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Means over images.

        Args:
            results (list[tuple]): One per sample, from :meth:`process`.

        Returns:
            dict[str, float]: ``accuracy``, ``FP`` and ``FN``, rates as TuSimple defines them.
        """
        means = np.mean(results, axis=0)
        return dict(zip(('accuracy', 'FP', 'FN'), means.tolist(), strict=True))

"""TuSimple's accuracy of lanes."""

from collections.abc import Sequence

import numpy as np
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric

from mmptq.lanes.geometry.lane_points import lane_xs, read_lanes

from .tusimple_accuracy import tusimple_image_scores


@METRICS.register_module()
class TuSimpleMetric(BaseMetric):
    """Accuracy, false positive and false negative rate of TuSimple, each averaged over images.

    Predicted lanes are interpolated linearly at the annotation's rows (``h_samples``); rows above
    and below a lane count as not reached. See :func:`tusimple_image_scores` for the scores. Run
    times are ignored.

    Reads ``pred_lanes`` (in pixels of the original image) and ``eval_ann_info`` (with ``h_samples``
    and ``lane_xs``) of each sample, which :class:`~mmptq.lanes.datasets.TuSimpleLaneDataset`
    provides in test mode.

    Example:
        >>> val_evaluator = dict(type='TuSimpleMetric')
    """

    default_prefix = 'tusimple'

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Compute the three scores of each sample.

        Args:
            data_batch (dict): Not used; part of mmengine's interface.
            data_samples (Sequence[dict]): With ``pred_lanes`` and ``eval_ann_info``.

        Raises:
            ValueError: If a key is missing.
        """
        for sample in data_samples:
            _, pred_lanes = read_lanes(sample, type(self).__name__)
            truth = sample['eval_ann_info']
            if 'h_samples' not in truth:
                raise ValueError(
                    f"the annotation of '{sample.get('img_path')}' has no h_samples: "
                    'TuSimpleMetric needs a TuSimpleLaneDataset'
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

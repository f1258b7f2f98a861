"""The detector that all lane models share."""

from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from torch import Tensor


@MODELS.register_module()
class LaneDetector(BaseDetector):
    """Backbone, optional neck and a lane head (:class:`~mmptq.lanes.models.LaneHead`).

    Predictions are ``pred_lanes`` of each sample: a list of (N, 2) tensors, in pixels of the
    original image.

    Args:
        backbone (dict): Config; returns a tuple of stage features.
        lane_head (dict): Config.
        neck (dict, optional): Config; takes the features of the backbone.
        distillation (dict, optional): Config of a loss on the stage features alone, such as
            ``SADLoss``. It is used in training only, while its attribute ``enabled`` is true.
        data_preprocessor (dict, optional): Config.
        init_cfg (dict, optional): Config.

    Example:
        >>> model = dict(
        ...     type='LaneDetector',
        ...     data_preprocessor=dict(type='DetDataPreprocessor', mean=[123.7, 116.3, 103.5],
        ...                            std=[58.4, 57.1, 57.4], bgr_to_rgb=True),
        ...     backbone=dict(type='ResNet', depth=18, out_indices=(3,)),
        ...     lane_head=dict(type='LaneSegHead', in_channels=512, num_lanes=4))
    """

    def __init__(
        self,
        backbone: dict,
        lane_head: dict,
        neck: dict | None = None,
        distillation: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        self.neck = None if neck is None else MODELS.build(neck)
        self.lane_head = MODELS.build(lane_head)
        self.distillation = None if distillation is None else MODELS.build(distillation)

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """Features for the head.

        Args:
            batch_inputs (Tensor): (B, 3, H, W) normalised images.

        Returns:
            tuple[Tensor, ...]: Features of the neck, or of the backbone if there is no neck.
        """
        return self._refine(self.backbone(batch_inputs))

    def loss(self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample]) -> dict:
        """Losses of a batch.

        Args:
            batch_inputs (Tensor): (B, 3, H, W) normalised images.
            batch_data_samples (list[DetDataSample]): With ``gt_lanes`` and ``gt_lane_slots``.

        Returns:
            dict[str, Tensor]: Losses of the head, and ``loss_distillation`` if it is enabled.
        """
        stages = self.backbone(batch_inputs)
        losses = self.lane_head.loss(self._refine(stages), batch_data_samples)
        if self.distillation is not None and self.distillation.enabled:
            losses['loss_distillation'] = self.distillation(stages)
        return losses

    def predict(
        self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample]
    ) -> list[DetDataSample]:
        """Lanes of a batch.

        Args:
            batch_inputs (Tensor): (B, 3, H, W) normalised images.
            batch_data_samples (list[DetDataSample]): One per image.

        Returns:
            list[DetDataSample]: The same samples with ``pred_lanes`` in original pixels.
        """
        lanes = self.lane_head.predict(self.extract_feat(batch_inputs), batch_data_samples)
        for sample, of_image in zip(batch_data_samples, lanes, strict=True):
            sample.pred_lanes = of_image
        return batch_data_samples

    def _forward(
        self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample] | None = None
    ) -> dict[str, Tensor]:
        """Raw outputs of the head, by name."""
        return self.lane_head(self.extract_feat(batch_inputs))

    def _refine(self, stages: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Stage features after the neck, if there is one."""
        return stages if self.neck is None else self.neck(stages)

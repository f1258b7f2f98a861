"""Append velocities to the ground truth boxes of CenterHead."""

import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS


@TRANSFORMS.register_module()
class AppendBoxVelocity(BaseTransform):
    """Extend ground truth boxes (N, 7) to (N, 9) by their velocity (v_x, v_y).

    ``CenterHead`` needs nine values per box for its regression targets; ``KittiDataset`` loads
    seven. Velocities come from the annotation (``velocity`` of each instance, in metres per second,
    in the coordinate frame of the boxes). Missing or NaN velocities become zero, as in
    ``NuScenesDataset``. Place it after ``LoadAnnotations3D`` and before augmentations, so that
    flips and rotations also transform the velocity.

    Example:
        >>> train_pipeline = [..., dict(type='LoadAnnotations3D', with_bbox_3d=True,
        ...                             with_label_3d=True), dict(type='AppendBoxVelocity'), ...]
    """

    def transform(self, results: dict) -> dict:
        """Replace ``gt_bboxes_3d`` by boxes with nine values.

        Args:
            results (dict): With ``gt_bboxes_3d`` (BaseInstance3DBoxes, N boxes) and ``ann_info``,
                whose optional ``velocities`` is an (N, 2) array.

        Returns:
            dict: The same dict.

        Raises:
            KeyError: If no boxes were loaded before this step.
        """
        if 'gt_bboxes_3d' not in results:
            raise KeyError(
                "AppendBoxVelocity needs 'gt_bboxes_3d': place it after LoadAnnotations3D "
                'with with_bbox_3d=True'
            )
        boxes = results['gt_bboxes_3d']
        velocities = results['ann_info'].get('velocities')
        if velocities is None:
            velocities = torch.zeros(len(boxes), 2)
        velocities = torch.as_tensor(velocities, dtype=boxes.tensor.dtype).reshape(-1, 2)
        columns = torch.cat([boxes.tensor[:, :7], velocities.nan_to_num(0.0)], dim=1)
        # The tensor has bottom centres; another origin would shift the boxes.
        results['gt_bboxes_3d'] = type(boxes)(columns, box_dim=9, origin=(0.5, 0.5, 0))
        return results

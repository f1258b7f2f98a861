"""The last step of a lane pipeline."""

from collections.abc import Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures import DetDataSample

from mmptq.lanes.geometry.lane_geometry import bottom_to_top, clip_lane
from mmptq.utils.messages import DataError

META_KEYS = (
    'sample_idx',
    'img_path',
    'ori_shape',
    'img_shape',
    'scale_factor',
    'crop_offset',
    'flip',
    'flip_direction',
    'homography_matrix',
    'num_lane_slots',
)


@TRANSFORMS.register_module()
class PackLaneInputs(BaseTransform):
    """Pack the inputs of a model: an image tensor and a data sample with lanes as points.

    The format is independent of the head; each head encodes its own targets from

    - ``gt_lanes`` (list[Tensor]): (N, 2) float32 x and y in pixels of the model's input, bottom to
      top. Lanes are clipped to the image
      (:func:`~mmptq.lanes.geometry.lane_geometry.clip_lane`); lanes outside it are dropped. The
      tensors stay on the CPU when the preprocessor moves the sample, because they are in a list.
    - ``gt_lane_slots`` (Tensor): (num_lanes,) int64 positions, -1 if unknown.
    - ``eval_ann_info`` (dict): In test mode, the ground truth for metrics, in pixels of the
      original image.

    The meta information always has ``homography_matrix``, (3, 3) from the original image to the
    input; :func:`~mmptq.lanes.geometry.lane_geometry.lanes_to_original` inverts it.

    Args:
        meta_keys (Sequence[str]): Keys of pipeline results to copy into the meta information, if
            present.
    """

    def __init__(self, meta_keys: Sequence[str] = META_KEYS) -> None:
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: dict) -> dict:
        """Pack one image.

        Args:
            results (dict): With ``img`` (H, W, C).

        Returns:
            dict: ``inputs`` (C, H, W) and ``data_samples`` (DetDataSample).

        Raises:
            DataError: If the image does not have the size that its data set declares.
        """
        self._check_size(results)
        image = np.ascontiguousarray(np.atleast_3d(results['img']).transpose(2, 0, 1))
        results.setdefault('homography_matrix', np.eye(3))
        sample = DetDataSample(
            metainfo={key: results[key] for key in self.meta_keys if key in results}
        )
        sample.set_metainfo(dict(homography_matrix=results['homography_matrix']))
        if 'gt_lanes' in results:
            self._pack_lanes(sample, results, image.shape[2], image.shape[1])
        if 'eval_ann_info' in results:
            sample.eval_ann_info = results['eval_ann_info']
        return dict(inputs=torch.from_numpy(image), data_samples=sample)

    def _pack_lanes(self, sample: DetDataSample, results: dict, width: int, height: int) -> None:
        """Lanes inside the image, as tensors."""
        lanes = [clip_lane(points, width, height) for points in results['gt_lanes']]
        kept = [index for index, lane in enumerate(lanes) if len(lane)]
        # Copy, because reversing returns a view with a negative stride.
        sample.gt_lanes = [
            torch.from_numpy(bottom_to_top(lanes[index]).astype(np.float32).copy())
            for index in kept
        ]
        slots = results.get('gt_lane_slots', np.full(len(lanes), -1))
        sample.gt_lane_slots = torch.from_numpy(np.asarray(slots, dtype=np.int64)[kept])

    def _check_size(self, results: dict) -> None:
        """Refuse an image of another size than the annotations refer to."""
        declared = results.get('image_size')
        if declared and tuple(declared) != tuple(results['ori_shape'][1::-1]):
            height, width = results['ori_shape'][:2]
            raise DataError(
                f"'{results['img_path']}' is {width}x{height} pixels, but its data set declares "
                f'{declared[0]}x{declared[1]}: set metainfo=dict(image_size=(width, height)) of '
                'the data set, or image_size=None if sizes differ'
            )

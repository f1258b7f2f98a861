"""What data sets of lanes have in common."""

import numpy as np
from mmdet.registry import DATASETS
from mmengine.dataset import BaseDataset
from mmengine.logging import MMLogger

from mmptq.lanes.geometry.lane_geometry import bottom_to_top


@DATASETS.register_module()
class LaneDataset(BaseDataset):
    """Images with lanes, each a list of points; the base of one reader per format.

    A reader implements ``load_data_list`` (``img_path`` and what it needs to find the lanes) and
    :meth:`read_lanes`. Lanes are read when an image is asked for, not at the start: CULane has a
    file per image.

    ``get_data_info`` then gives for the pipeline

    - ``gt_lanes`` (list[np.ndarray]): (N, 2) float32, pixels of the original image, bottom to top,
      of at least two points that touch the image; points outside of it stay as they are until
      :class:`PackLaneInputs`;
    - ``gt_lane_slots`` (np.ndarray): (num_lanes,) int64, the lane's place in the annotation's list
      of lane positions, left to right, or -1 where the format has none;
    - ``num_lane_slots`` (int): Length of that list, 0 where the format has none;
    - in test mode ``eval_ann_info`` (dict): What metrics read, untouched by transforms: ``lanes``
      exactly as annotated, and more as the format has it.

    Images without lanes are ordinary images.

    Args:
        *args: Of :class:`mmengine.dataset.BaseDataset`.
        **kwargs: Of :class:`mmengine.dataset.BaseDataset`. Set ``metainfo=dict(image_size=(width,
            height))`` where images have another size than the format's, or ``image_size=None``
            where they differ.
    """

    METAINFO = dict(classes=('lane',), palette=[(0, 200, 0)], image_size=None)

    def read_lanes(self, info: dict) -> list[np.ndarray]:
        """Lanes of one image as annotated.

        Args:
            info (dict): Data info, as made by ``load_data_list``; may be added to.

        Returns:
            list[np.ndarray]: (N, 2) points each, pixels of the original image.
        """
        raise NotImplementedError(f'{type(self).__name__} must implement read_lanes')

    def get_data_info(self, idx: int) -> dict:
        """Data info of one image, with its lanes (see the class).

        Args:
            idx (int): Index of the image.

        Returns:
            dict: With ``img_path``, ``gt_lanes``, ``gt_lane_slots``, ``num_lane_slots`` and, in
            test mode, ``eval_ann_info``.

        Raises:
            ValueError: If the annotation is missing or malformed.
        """
        info = super().get_data_info(idx)
        info['image_size'] = self._metainfo['image_size']
        lanes = self.read_lanes(info)
        if self.test_mode:
            info.setdefault('eval_ann_info', {})['lanes'] = lanes
        flags = info.pop('lane_flags', ())
        slots = np.flatnonzero(flags)
        if len(slots) != len(lanes):
            slots = np.full(len(lanes), -1, dtype=np.int64)
        usable = [index for index, lane in enumerate(lanes) if self._usable(lane, index, info)]
        info['gt_lanes'] = [bottom_to_top(lanes[i]).astype(np.float32) for i in usable]
        info['gt_lane_slots'] = slots[usable]
        info['num_lane_slots'] = len(flags)
        return info

    def _usable(self, lane: np.ndarray, index: int, info: dict) -> bool:
        """Whether a lane is more than a point and touches the image; says so if not."""
        size = info['image_size']
        if len(np.unique(lane, axis=0)) < 2:
            reason = 'has less than two points'
        elif size and ((lane.max(axis=0) < 0).any() or (lane.min(axis=0) >= size).any()):
            reason = f'lies outside of the {size[0]}x{size[1]} image'
        else:
            return True
        # The logger of each worker process says it once per lane, not once per epoch.
        warned = self.__dict__.setdefault('_warned', set())
        where = info.get('lane_source', info['img_path'])
        if (where, index) not in warned:
            warned.add((where, index))
            MMLogger.get_current_instance().warning(
                f"lane {index + 1} of '{where}' {reason}: it is not used for training"
            )
        return False

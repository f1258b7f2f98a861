"""Base of the lane data sets."""

import numpy as np
from mmdet.registry import DATASETS
from mmengine.dataset import BaseDataset
from mmengine.logging import MMLogger

from mmptq.lanes.geometry.lane_geometry import bottom_to_top


@DATASETS.register_module()
class LaneDataset(BaseDataset):
    """Images with lanes as lists of points; the base of one class per format.

    A subclass implements ``load_data_list`` (``img_path`` and the location of the lanes) and
    :meth:`read_lanes`. Lanes are read lazily, because CULane has one file per image.

    ``get_data_info`` returns for the pipeline

    - ``gt_lanes`` (list[np.ndarray]): (N, 2) float32, in pixels of the original image, bottom to
      top. Lanes have at least two points and touch the image; points outside the image are kept
      until :class:`PackLaneInputs`;
    - ``gt_lane_slots`` (np.ndarray): (num_lanes,) int64, the index of each lane in the annotation's
      list of lane positions, left to right, or -1 if the format has no positions;
    - ``num_lane_slots`` (int): Length of that list, or 0;
    - in test mode ``eval_ann_info`` (dict): Ground truth for metrics, not changed by transforms:
      ``lanes`` as annotated, and further keys depending on the format.

    Images without lanes are kept. After :meth:`skip_labels` no label file is opened, and there are
    no lanes.

    Args:
        *args: Arguments of :class:`mmengine.dataset.BaseDataset`.
        **kwargs: Arguments of :class:`mmengine.dataset.BaseDataset`. Set
            ``metainfo=dict(image_size=(width, height))`` if the images have another size than the
            format's, or ``image_size=None`` if their sizes differ.
    """

    METAINFO = dict(classes=('lane',), palette=[(0, 200, 0)], image_size=None)
    _labels = True

    def skip_labels(self) -> None:
        """Give images without lanes from now on: label files are not opened and may be missing."""
        self._labels = False

    def read_lanes(self, info: dict) -> list[np.ndarray]:
        """Lanes of one image as annotated.

        Args:
            info (dict): Data info from ``load_data_list``; keys may be added.

        Returns:
            list[np.ndarray]: (N, 2) points each, in pixels of the original image.
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
        if not self._labels:
            return info
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
        """Whether a lane has two points and touches the image; logs a warning if not."""
        size = info['image_size']
        if len(np.unique(lane, axis=0)) < 2:
            reason = 'has fewer than two points'
        elif size and ((lane.max(axis=0) < 0).any() or (lane.min(axis=0) >= size).any()):
            reason = f'is outside the {size[0]}x{size[1]} image'
        else:
            return True
        # Warn once per lane in each worker process, not once per epoch.
        warned = self.__dict__.setdefault('_warned', set())
        where = info.get('lane_source', info['img_path'])
        if (where, index) not in warned:
            warned.add((where, index))
            MMLogger.get_current_instance().warning(
                f"lane {index + 1} of '{where}' {reason} and is not used for training"
            )
        return False

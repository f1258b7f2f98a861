"""Folders of images and text files with lanes."""

import os
import os.path as osp
from collections.abc import Sequence

import numpy as np
from mmdet.registry import DATASETS

from mmptq.lanes.geometry.lane_points import lane_xs
from mmptq.utils.messages import DataError

from .lane_dataset import LaneDataset
from .lane_text import read_lane_file

IMAGE_ENDINGS = ('.jpg', '.jpeg', '.png', '.bmp')
ABSENT_X = -2.0  # TuSimple's


@DATASETS.register_module()
class LaneFolderDataset(LaneDataset):
    """A folder of images, and for each ``NAME.jpg`` a ``NAME.txt`` with one lane per line.

    A lane is written as ``x y x y ...``. This is the simplest format for your own data:
    ``data_prefix`` names both folders, ``img_path`` and ``lane_path``; there is no annotation file.
    Without labels, leave ``lane_path`` out: the images serve for calibration.

    Args:
        *args: Arguments of :class:`mmengine.dataset.BaseDataset`.
        h_samples (Sequence[int], optional): Start, stop and step of the rows, as for ``range``, in
            pixels of the original image. ``eval_ann_info`` then has ``h_samples`` and ``lane_xs``
            for :class:`~mmptq.lanes.evaluation.TuSimpleMetric`.
        **kwargs: Arguments of :class:`mmengine.dataset.BaseDataset`.

    Example:
        >>> dataset = dict(
        ...     type='LaneFolderDataset', data_root='data/own/', test_mode=True,
        ...     data_prefix=dict(img_path='images', lane_path='labels'), h_samples=(160, 720, 10),
        ...     pipeline=[dict(type='LoadImageFromFile'), dict(type='PackLaneInputs')])
    """

    METAINFO = LaneDataset.METAINFO | dict(dataset_type='lane_folder')

    def __init__(self, *args, h_samples: Sequence[int] | None = None, **kwargs) -> None:
        self.h_samples = None if h_samples is None else np.arange(*h_samples, dtype=np.float64)
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """List the images; shorter names come first, so that 10 follows 9.

        Returns:
            list[dict]: ``img_path`` and ``lane_source``.

        Raises:
            DataError: If the folder is missing or has no images.
        """
        folder = self.data_prefix['img_path']
        try:
            names = sorted(os.listdir(folder), key=lambda name: (len(name), name))
        except OSError as error:
            raise DataError(
                f"image folder '{folder}' cannot be read ({error.strerror}): check data_root and "
                'data_prefix'
            ) from None
        names = [name for name in names if name.lower().endswith(IMAGE_ENDINGS)]
        if not names:
            raise DataError(f"image folder '{folder}' has no images")
        labels = self.data_prefix.get('lane_path') or ''
        return [
            dict(
                img_path=osp.join(folder, name),
                lane_source=osp.join(labels, osp.splitext(name)[0] + '.txt'),
            )
            for name in names
        ]

    def read_lanes(self, info: dict) -> list[np.ndarray]:
        """Lanes from the text file of an image, see :func:`read_lane_file`."""
        if not self.data_prefix.get('lane_path'):
            raise DataError(
                f"'{self.data_prefix['img_path']}' has no labels: set data_prefix.lane_path to the "
                'folder of the lane files'
            )
        lanes = read_lane_file(info['lane_source'])
        if self.test_mode and self.h_samples is not None:
            xs = [lane_xs(lane, self.h_samples) for lane in lanes]
            xs = [np.where(np.isnan(x), ABSENT_X, x).tolist() for x in xs]
            info['eval_ann_info'] = dict(h_samples=self.h_samples, lane_xs=xs)
        return lanes

"""CULane and data sets in its format."""

import os.path as osp

import numpy as np
from mmdet.registry import DATASETS

from mmptq.utils.messages import DataError

from .lane_dataset import LaneDataset
from .lane_text import read_lane_file, read_lines


@DATASETS.register_module()
class CULaneDataset(LaneDataset):
    """CULane: list files of images, and a ``.lines.txt`` file of lanes next to each image.

    A line of the list is ``image`` or ``image mask flag flag ...`` with a flag 0 or 1 for each lane
    position, as in ``list/train_gt.txt``; the mask is not used. If the flags and the lane file
    disagree about the number of lanes, the positions are unknown (slot -1).

    Data: https://xingangpan.github.io/projects/CULane.html

    Args:
        *args: Arguments of :class:`mmengine.dataset.BaseDataset`.
        category_lists (dict[str, str], optional): List file by category, relative to ``data_root``;
            metrics then score each category. Images that are not in ``ann_file`` are ignored.
        **kwargs: Arguments of :class:`mmengine.dataset.BaseDataset`.

    Example:
        >>> dataset = dict(
        ...     type='CULaneDataset', data_root='data/culane/', ann_file='list/test.txt',
        ...     category_lists=dict(normal='list/test_split/test0_normal.txt'), test_mode=True,
        ...     pipeline=[dict(type='LoadImageFromFile'), dict(type='PackLaneInputs')])
    """

    METAINFO = LaneDataset.METAINFO | dict(image_size=(1640, 590), dataset_type='culane')

    def __init__(self, *args, category_lists: dict[str, str] | None = None, **kwargs) -> None:
        self.category_lists = dict(category_lists or {})
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the list file and the category lists.

        Returns:
            list[dict]: ``img_path``, ``lane_flags`` and ``eval_ann_info`` with ``categories``.

        Raises:
            DataError: If a list is missing, empty or malformed.
        """
        categories = {}
        entries = _read_list(self.ann_file)
        listed = {name for name, _ in entries}
        for category, path in self.category_lists.items():
            path = osp.join(self.data_root, path)
            names = {name for name, _ in _read_list(path)} & listed
            if not names:
                raise DataError(
                    f"category list '{path}' has no image in common with '{self.ann_file}': use "
                    'lists of the same split'
                )
            for name in names:
                categories.setdefault(name, []).append(category)
        folder = self.data_prefix['img_path']
        data_list = []
        for name, flags in entries:
            info = dict(img_path=osp.join(folder, name), lane_flags=flags)
            if self.test_mode:
                info['eval_ann_info'] = dict(categories=tuple(categories.get(name, ())))
            data_list.append(info)
        return data_list

    def read_lanes(self, info: dict) -> list[np.ndarray]:
        """Lanes from the file next to the image, see :func:`read_lane_file`."""
        info['lane_source'] = osp.splitext(info['img_path'])[0] + '.lines.txt'
        return read_lane_file(info['lane_source'])


def _read_list(path: str) -> list[tuple[str, tuple[int, ...]]]:
    """Image names without leading slash, and flags; blank lines are skipped."""
    entries = []
    for number, line in enumerate(read_lines(path, 'image list'), start=1):
        words = line.split()
        if not words:
            continue
        flags = words[2:]
        if len(words) == 2 or set(flags) - {'0', '1'}:
            raise DataError(
                f"image list '{path}', line {number}: {len(words)} columns; expected 'image' or "
                "'image mask flag flag ...' with flags 0 or 1"
            )
        if entries and len(flags) != len(entries[0][1]):
            raise DataError(
                f"image list '{path}', line {number}: {len(flags)} lane flags, but "
                f'{len(entries[0][1])} in the previous lines'
            )
        entries.append((words[0].lstrip('/'), tuple(map(int, flags))))
    if not entries:
        raise DataError(f"image list '{path}' is empty")
    return entries

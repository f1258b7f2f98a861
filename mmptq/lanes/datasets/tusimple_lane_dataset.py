"""TuSimple's lane annotations."""

import json
import math
import os.path as osp

import numpy as np
from mmdet.registry import DATASETS

from mmptq.utils.messages import DataError

from .lane_dataset import LaneDataset
from .lane_text import read_lines


@DATASETS.register_module()
class TuSimpleLaneDataset(LaneDataset):
    """TuSimple: one JSON object per line with ``raw_file``, ``lanes`` and ``h_samples``.

    Each lane is a list of x, one for each row of ``h_samples``, negative in rows that the lane does
    not reach. In test mode ``eval_ann_info`` also has ``lane_xs`` and ``h_samples`` as annotated.
    Use mmengine's ``ConcatDataset`` to join several annotation files.

    Data: https://github.com/TuSimple/tusimple-benchmark

    Example:
        >>> dataset = dict(
        ...     type='TuSimpleLaneDataset', data_root='data/tusimple/', ann_file='test_label.json',
        ...     test_mode=True,
        ...     pipeline=[dict(type='LoadImageFromFile'), dict(type='PackLaneInputs')])
    """

    METAINFO = LaneDataset.METAINFO | dict(image_size=(1280, 720), dataset_type='tusimple')

    def load_data_list(self) -> list[dict]:
        """Read the annotation file.

        Returns:
            list[dict]: ``img_path``, ``h_samples`` and ``lane_xs``.

        Raises:
            DataError: If the file is missing, empty or malformed.
        """
        data_list = []
        lines = read_lines(self.ann_file, 'annotation file')
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            where = f"annotation file '{self.ann_file}', line {number}"
            image = _parse(line, where)
            data_list.append(
                dict(
                    img_path=osp.join(self.data_prefix['img_path'], image['raw_file']),
                    h_samples=image['h_samples'],
                    lane_xs=image['lanes'],
                    lane_source=f'{self.ann_file}, line {number}',
                )
            )
        if not data_list:
            raise DataError(f"annotation file '{self.ann_file}' is empty")
        return data_list

    def read_lanes(self, info: dict) -> list[np.ndarray]:
        """Lanes as points, without the rows that they do not reach."""
        rows = np.array(info.pop('h_samples'), dtype=np.float64)
        lane_xs = info.pop('lane_xs')
        if self.test_mode:
            info['eval_ann_info'] = dict(h_samples=rows, lane_xs=lane_xs)
        points = [np.stack([np.array(xs, dtype=np.float64), rows], axis=1) for xs in lane_xs]
        return [lane[lane[:, 0] >= 0] for lane in points]


def _parse(line: str, where: str) -> dict:
    """Parse and check one annotation."""
    try:
        image = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f'{where}: not JSON ({error.msg}); expected one object per line') from None
    missing = {'raw_file', 'lanes', 'h_samples'} - set(image if isinstance(image, dict) else ())
    if missing:
        raise DataError(f'{where}: missing {", ".join(sorted(missing))}')
    rows, lanes = image['h_samples'], image['lanes']
    if not isinstance(lanes, list) or not _are_numbers(rows) or not rows:
        raise DataError(f'{where}: h_samples must be a list of numbers and lanes a list of lists')
    for index, lane in enumerate(lanes, start=1):
        if not _are_numbers(lane):
            raise DataError(f'{where}: lane {index} is not a list of finite numbers')
        if len(lane) != len(rows):
            raise DataError(f'{where}: lane {index} has {len(lane)} x for {len(rows)} h_samples')
    if not isinstance(image['raw_file'], str):
        raise DataError(f'{where}: raw_file must be the path of an image')
    return image


def _are_numbers(values) -> bool:
    """Whether the value is a list of finite numbers."""
    return isinstance(values, list) and all(
        isinstance(value, int | float) and math.isfinite(value) for value in values
    )

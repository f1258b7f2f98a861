"""Detections of a LiDAR model, float or quantized, on single scans."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DATASETS
from torch import nn

from mmptq.quantization import QuantizationError
from mmptq.utils.messages import first_line
from mmptq.utils.scan_file import ScanFormat

from .build import enter_scope


class ScanReader:
    """Reads scans as the test pipeline of a config does.

    Args:
        cfg (Config): With ``test_dataloader``.
    """

    def __init__(self, cfg: Config):
        enter_scope(cfg)
        self.cfg = cfg.test_dataloader.dataset
        self.pipeline = Compose(self.cfg.pipeline)
        self.format = ScanFormat.of(self.pipeline)
        if self.format is None:
            raise QuantizationError(
                'the test pipeline of the config reads no point clouds (LoadPointsFromFile): give '
                'the config of a LiDAR model'
            )
        self._dataset = None

    def read(self, scan: str) -> dict[str, Any]:
        """A batch of one scan, as ``test_step`` takes it.

        Args:
            scan (str): Path of a file, or the number of a sample of the test data.

        Raises:
            QuantizationError: If there is no such scan, or its file is broken.
        """
        if scan.isdigit():
            return pseudo_collate([self._sample(int(scan))])
        if not Path(scan).is_file():
            raise QuantizationError(
                f"scan '{scan}' does not exist: give a file, or the number of a test sample"
            )
        return pseudo_collate([self._file(scan)])

    def _sample(self, index: int) -> dict[str, Any]:
        if self._dataset is None:
            self._dataset = DATASETS.build(self.cfg)
        if index >= len(self._dataset):
            raise QuantizationError(
                f'there is no test sample {index}: the test data has {len(self._dataset)}'
            )
        return self._dataset[index]

    def _file(self, path: str) -> dict[str, Any]:
        from mmdet3d.structures import Box3DMode, LiDARInstance3DBoxes

        problem = self.format.problem(path)
        if problem is None:
            info = dict(
                lidar_points=dict(lidar_path=path, num_pts_feats=self.format.num_columns),
                timestamp=0.0,
                box_type_3d=LiDARInstance3DBoxes,
                box_mode_3d=Box3DMode.LIDAR,
            )
            try:
                return self.pipeline(info)
            except Exception as error:
                problem = f'cannot be read ({first_line(error)})'
        raise QuantizationError(f"scan '{path}' {problem}: repair or remove it")


@torch.no_grad()
def detect(model: nn.Module, batch: dict[str, Any], score_thr: float) -> dict[str, np.ndarray]:
    """Detections on a batch of one scan.

    Args:
        model (nn.Module): A LiDAR detector in eval mode.
        batch (dict): From ``ScanReader.read``.
        score_thr (float): Detections must score at least this.

    Returns:
        dict: boxes (N, 7 or 9), labels (N,) and scores (N,) as arrays.
    """
    found = model.test_step(batch)[0].pred_instances_3d
    found = found[found.scores_3d >= score_thr]
    arrays = dict(
        boxes=found.bboxes_3d.tensor, labels=found.labels_3d.to(torch.int64), scores=found.scores_3d
    )
    return {name: value.cpu().numpy() for name, value in arrays.items()}

"""Images or scans of a folder as calibration samples."""

import copy
import inspect
from typing import Any

import numpy as np
from mmengine.dataset import Compose
from mmengine.registry import DATASETS
from torch.utils.data import Dataset

from mmptq.quantization import QuantizationError
from mmptq.utils.image_file import image_problem
from mmptq.utils.scan_file import ScanFormat

from .folder_listing import list_samples
from .pipelines import sample_kind, without_annotations


class FolderDataset(Dataset):
    """Images or scans of a folder, read through a test pipeline; there are no labels.

    Args:
        folder (str): Path; folders below it count as well.
        pipeline (list[dict]): Config of the test pipeline. Transforms that load labels are left
            out.
        evaluation (dict): Config of the dataset that the pipeline is of; gives class names and the
            type of boxes. Its files are not looked at.

    Attributes:
        data_list (list[dict]): Data info of each sample.
        metainfo (dict): That of the evaluation data.

    Raises:
        QuantizationError: If the folder does not hold what the pipeline reads, or the pipeline
            reads more than a folder holds.
    """

    def __init__(self, folder: str, pipeline: list[dict], evaluation: dict[str, Any]):
        kind, files = list_samples(folder, sample_kind(pipeline))
        self.folder = folder
        self.pipeline = Compose(without_annotations(pipeline))
        cls = _class_of(evaluation)
        self.metainfo = {**(getattr(cls, 'METAINFO', None) or {}), **_metainfo(evaluation)}
        self.is_scans = kind == 'scans'
        if self.is_scans:
            common = _scan_info(cls, evaluation)
            columns = getattr(ScanFormat.of(self.pipeline), 'num_columns', None)
            points = [dict(lidar_path=path, num_pts_feats=columns) for path in files]
            self.data_list = [dict(lidar_points=entry, **common) for entry in points]
        else:
            self.data_list = [dict(img_path=path, instances=[]) for path in files]
        for index, info in enumerate(self.data_list):
            info.update(sample_idx=index, img_id=index)

    def __len__(self) -> int:
        return len(self.data_list)

    def get_data_info(self, index: int) -> dict[str, Any]:
        """What the pipeline starts from; a copy."""
        return copy.deepcopy(self.data_list[index])

    def problem(self, index: int) -> str | None:
        """What is wrong with the image of a sample, as far as its file says without decoding."""
        return None if self.is_scans else image_problem(self.data_list[index]['img_path'])

    def __getitem__(self, index: int) -> dict[str, Any]:
        try:
            sample = self.pipeline(self.get_data_info(index))
        except KeyError as error:
            raise QuantizationError(
                f'the test pipeline needs {error}, which a folder does not hold: calibrate on the '
                'train data of the config, without --calibration-data'
            ) from error
        if sample is None:
            raise QuantizationError('the test pipeline drops it')
        return sample


def _class_of(evaluation: dict[str, Any]) -> Any:
    kind = evaluation.get('type')
    if isinstance(kind, str):
        with DATASETS.switch_scope_and_registry(None) as registry:
            return registry.get(kind)
    return kind


def _metainfo(evaluation: dict[str, Any]) -> dict[str, Any]:
    metainfo = evaluation.get('metainfo')
    return dict(metainfo) if isinstance(metainfo, dict) else {}


def _scan_info(cls: Any, evaluation: dict[str, Any]) -> dict[str, Any]:
    """What mmdet3d's data sets give a pipeline beside the path of a scan."""
    from mmdet3d.structures import get_box_type

    parameters = inspect.signature(cls).parameters if inspect.isclass(cls) else {}
    default = getattr(parameters.get('box_type_3d'), 'default', 'LiDAR')
    name = evaluation.get('box_type_3d', default)
    box_type, box_mode = get_box_type(name if isinstance(name, str) else 'LiDAR')
    return dict(
        box_type_3d=box_type,
        box_mode_3d=box_mode,
        timestamp=0.0,
        axis_align_matrix=np.eye(4),
    )

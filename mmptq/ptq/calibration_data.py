"""Calibration data: the train split through the test pipeline."""

import copy
import os
from typing import Any

import torch
from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Dataset

from mmptq.quantization import QuantizationError
from mmptq.utils.messages import first_line
from mmptq.utils.scan_file import ScanFormat


def as_test_dataset(dataset: dict[str, Any], pipeline: list[dict]) -> dict[str, Any]:
    """The config of a train dataset, turned so that it loads like a test dataset.

    Wrappers that mix or repeat samples (CBGS, mosaic, repeat) are removed; a concatenation stays.

    Args:
        dataset (dict): The ``dataset`` of a train dataloader.
        pipeline (list[dict]): The test pipeline.
    """
    if 'dataset' in dataset:
        return as_test_dataset(dataset['dataset'], pipeline)
    dataset = copy.deepcopy(dataset)
    if 'datasets' in dataset:
        dataset['datasets'] = [as_test_dataset(d, pipeline) for d in dataset['datasets']]
        return dataset
    dataset.update(pipeline=copy.deepcopy(pipeline), test_mode=True)
    # Data sets do not filter in test mode, and mmdet's XMLDataset refuses to be told to.
    dataset.pop('filter_cfg', None)
    return dataset


def pipeline_of(dataset: dict[str, Any]) -> list[dict] | None:
    """The pipeline of a dataset config, looked for inside of wrappers."""
    if 'pipeline' in dataset:
        return dataset['pipeline']
    inner = dataset.get('dataset') or (dataset.get('datasets') or [None])[0]
    return None if inner is None else pipeline_of(inner)


def sample_files(info: dict[str, Any]) -> set[str]:
    """Files that a data info (``dataset.get_data_info(i)``) names, as absolute paths."""
    paths = [info.get('img_path'), (info.get('lidar_points') or {}).get('lidar_path')]
    images = (info.get('images') or {}).values()  # cameras, and for KITTI matrices among them
    paths += [image.get('img_path') for image in images if isinstance(image, dict)]
    return {os.path.realpath(path) for path in paths if path}


def check_overlap(dataset: Dataset, indices: list[int], evaluation: Dataset, only_warn: bool):
    """Refuse calibration samples that the evaluation data holds too.

    Args:
        dataset (Dataset): Holds the calibration samples.
        indices (list[int]): The ones that are used.
        evaluation (Dataset): The evaluation data.
        only_warn (bool): Whether an overlap is reported and accepted.

    Raises:
        QuantizationError: If a file is in both, unless ``only_warn``.
    """
    seen = set().union(*(sample_files(evaluation.get_data_info(i)) for i in range(len(evaluation))))
    shared = [
        file for i in indices for file in sorted(sample_files(dataset.get_data_info(i)) & seen)
    ]
    if not shared:
        return
    message = (
        f"{len(shared)} calibration samples are evaluation samples too, '{shared[0]}' for one: "
        "calibrate on a train split, or set calibration.overlap='warn' to go on all the same"
    )
    if not only_warn:
        raise QuantizationError(message)
    MMLogger.get_current_instance().warning(message)


class CalibrationDataset(Dataset):
    """A fixed choice of samples; one that cannot be read becomes a sentence that says so.

    Args:
        dataset (Dataset): An OpenMMLab dataset.
        indices (list[int]): The samples, in order.
    """

    def __init__(self, dataset: Dataset, indices: list[int]):
        self.dataset = dataset
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> dict[str, Any] | str:
        index = self.indices[position]
        # The sentence travels through a worker process as data: an exception would arrive
        # there with the worker's whole traceback as its message.
        try:
            problem = self._problem(index)
            if problem is None:
                return self.dataset[index]
        except Exception as error:
            problem = f'cannot be read ({first_line(error)})'
        files = sorted(sample_files(self.dataset.get_data_info(index))) or [f'no. {index}']
        return f"calibration sample '{files[0]}' {problem}: repair or remove it"

    def _problem(self, index: int) -> str | None:
        """What is wrong with the scan of a sample, where that is known before it is loaded."""
        scan_format = ScanFormat.of(getattr(self.dataset, 'pipeline', None))
        path = (self.dataset.get_data_info(index).get('lidar_points') or {}).get('lidar_path')
        return scan_format.problem(path) if scan_format and path else None


def _collate(batch: list) -> Any:
    return batch[0] if isinstance(batch[0], str) else pseudo_collate(batch)


def choose_samples(total: int, num_samples: int, seed: int) -> list[int]:
    """A random choice without repetition, sorted so that files are read in order.

    Raises:
        QuantizationError: If there are fewer samples than asked for, or none are asked for.
    """
    if num_samples < 1:
        raise QuantizationError(f'calibration.num_samples={num_samples} must be at least 1')
    if total < num_samples:
        raise QuantizationError(
            f'calibration.num_samples={num_samples} is more than the {total} samples of the '
            f'train split: set it to at most {total}'
        )
    generator = torch.Generator('cpu').manual_seed(seed)
    return sorted(torch.randperm(total, generator=generator, device='cpu')[:num_samples].tolist())


def make_loader(dataset: Dataset, indices: list[int], num_workers: int) -> DataLoader:
    """Loader of single-sample batches in a fixed order."""
    return DataLoader(
        CalibrationDataset(dataset, indices),
        batch_size=1,
        num_workers=num_workers,
        collate_fn=_collate,
    )


def calibration_loader(
    dataloader: dict[str, Any], cfg: dict[str, Any], num_samples: int, seed: int
) -> DataLoader:
    """Loader of random samples of the train split through the test pipeline.

    Args:
        dataloader (dict): Config of the train dataloader.
        cfg (dict): The whole config; its val (or test) dataloader has the test pipeline.
        num_samples (int): How many.
        seed (int): Of the choice.

    Raises:
        QuantizationError: If there is no test pipeline, or there are too few samples.
    """
    val_cfg = cfg.get('val_dataloader') or cfg.get('test_dataloader') or {}
    pipeline = pipeline_of(val_cfg.get('dataset') or {})
    if pipeline is None:
        raise QuantizationError(
            'the config has no val_dataloader with a test pipeline: PTQ reads its calibration '
            'samples through that pipeline'
        )
    loader_cfg = dict(
        dataset=as_test_dataset(dataloader['dataset'], pipeline),
        batch_size=1,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    dataset = Runner.build_dataloader(loader_cfg).dataset
    indices = choose_samples(len(dataset), num_samples, seed)
    return make_loader(dataset, indices, dataloader.get('num_workers', 0))

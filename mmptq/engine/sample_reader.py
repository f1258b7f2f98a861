"""Reads one sample as the test pipeline of a config does."""

from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DATASETS

from mmptq.ptq.inputs.pipelines import transforms_in, without_annotations
from mmptq.utils.errors import QuantizationError
from mmptq.utils.messages import first_line

from .build import enter_scope
from .scan_detection import ScanReader


def read_sample(cfg: Config, sample: str) -> dict[str, Any]:
    """A batch of one sample, as ``test_step`` takes it.

    Args:
        cfg (Config): With ``test_dataloader``.
        sample (str): An image or a scan, or the number of a sample of the test data.

    Raises:
        QuantizationError: If there is no such sample, or its file is broken.
    """
    enter_scope(cfg)
    dataset_cfg = cfg.test_dataloader.dataset
    if any('LoadPointsFromFile' in names for names in transforms_in(dataset_cfg.pipeline)):
        return ScanReader(cfg).read(sample)
    if sample.isdigit():
        dataset = DATASETS.build(dataset_cfg)
        if int(sample) >= len(dataset):
            raise QuantizationError(
                f'there is no test sample {sample}: the test data has {len(dataset)}'
            )
        return pseudo_collate([dataset[int(sample)]])
    if not Path(sample).is_file():
        raise QuantizationError(
            f"image '{sample}' does not exist: give a file, or the number of a test sample"
        )
    try:
        pipeline = Compose(without_annotations(dataset_cfg.pipeline))
        return pseudo_collate([pipeline(dict(img_path=sample, img_id=0))])
    except Exception as error:  # any transform of any package
        raise QuantizationError(f"image '{sample}' cannot be read: {first_line(error)}") from error

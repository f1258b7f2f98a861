"""Calibration samples that the evaluation data holds too."""

from collections.abc import Iterable

from mmengine.logging import MMLogger
from torch.utils.data import Dataset

from mmptq.quantization import QuantizationError

from .sample_files import sample_files


def check_overlap(
    dataset: Dataset, indices: Iterable[int], evaluation: Dataset, only_warn: bool
) -> None:
    """Refuse calibration samples that the evaluation data holds too, by their files.

    No label is read. Where a data set does not name its files, a line of the log says that nothing
    was compared.

    Args:
        dataset (Dataset): Holds the calibration samples.
        indices (Iterable[int]): The ones that are used.
        evaluation (Dataset): The evaluation data.
        only_warn (bool): Whether an overlap is reported and accepted.

    Raises:
        QuantizationError: If a file is in both, unless ``only_warn``.
    """
    logger = MMLogger.get_current_instance()
    used = [sample_files(dataset, index) for index in indices]
    mine = set().union(*used)
    seen: set[str] = set()
    for index in range(len(evaluation) if mine else 0):
        seen |= sample_files(evaluation, index)
    if not mine or not seen:
        which = evaluation if mine else dataset
        logger.info(
            f'{type(which).__name__} does not name the files of its samples, so calibration and '
            'evaluation samples were not compared'
        )
    shared = [file for files in used for file in sorted(files & seen)]
    if not shared:
        return
    message = (
        f"{len(shared)} calibration samples are evaluation samples too, '{shared[0]}' for one: "
        'calibrate on other samples, or go on all the same with '
        '--cfg-options calibration.overlap=warn'
    )
    if not only_warn:
        raise QuantizationError(message)
    logger.warning(message)

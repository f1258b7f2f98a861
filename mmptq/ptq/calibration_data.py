"""Calibration data: the train split, or a folder, through the test pipeline."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Dataset, Subset

from mmptq.ptq.inputs.calibration_settings import (
    CalibrationSettings,
    choose_samples,
    spread_samples,
)
from mmptq.ptq.inputs.finite_points import NAN_HINT, FinitePoints, with_finite_points
from mmptq.ptq.inputs.folder_dataset import FolderDataset
from mmptq.ptq.inputs.pipelines import evaluation_leaves, pipelines_for
from mmptq.ptq.inputs.sample_files import (
    innermost,
    lacking_cameras,
    missing_image,
    sample_title,
    scan_path,
    sweep_paths,
)
from mmptq.ptq.inputs.train_dataset import skip_labels, takes_pipeline, train_leaves, with_pipelines
from mmptq.quantization import QuantizationError
from mmptq.utils.messages import first_line
from mmptq.utils.random_state import seeded
from mmptq.utils.scan_file import ScanFormat


class CalibrationDataset(Dataset):
    """A fixed choice of samples; one that cannot be read becomes a sentence that says so.

    A pipeline with random steps gives the same sample on every pass and in every worker process.

    Args:
        dataset (Dataset): An OpenMMLab dataset, or any other one that gives what the model takes.
        indices (list[int]): The samples, in order.
        seed (int): Of random steps. Defaults to 0.

    Attributes:
        dropped (dict[str, tuple[int, int]]): Scans with points that are not finite: their number,
            and that of all points.
    """

    def __init__(self, dataset: Dataset, indices: list[int], seed: int = 0):
        self.dataset = dataset
        self.indices = indices
        self.seed = seed
        self.dropped: dict[str, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> Any:
        index = self.indices[position]
        # The sentence travels through a worker process as data: an exception would arrive
        # there with the worker's whole traceback as its message.
        try:
            with seeded(self.seed * 1_000_003 + index):
                return self.dataset[index]
        except QuantizationError as error:
            problem = str(error)
        except Exception as error:
            problem = f'cannot be read ({first_line(error)}): repair or remove it'
        return f'{sample_title(self.dataset, index)} {problem}'

    def check_files(self, nan_points: str | None) -> None:
        """Look at the files of all samples, as far as that is quick.

        Args:
            nan_points (str, optional): See ``CalibrationSettings``.

        Raises:
            QuantizationError: If one cannot be used.
        """
        lacking = lacking_cameras(self.dataset, self.indices)
        for index in self.indices:
            dataset, inner = innermost(self.dataset, index)
            problem, hint = None, ''
            if index in lacking:
                problem = f'lacks the camera {lacking[index]}, which other samples have'
            if isinstance(dataset, FolderDataset):
                problem = dataset.problem(inner)
            path = scan_path(dataset, inner)
            if path is not None and problem is None:
                problem, hint = self._check_scan(dataset, inner, path, nan_points)
            if problem is None:
                problem = _missing_image(dataset, inner)
            if problem is not None:
                title = sample_title(self.dataset, index)
                raise QuantizationError(f'{title} {problem}: repair or remove it{hint}')
        if self.dropped:
            path, (bad, total) = next(iter(self.dropped.items()))
            MMLogger.get_current_instance().warning(
                f'points with NaN or Inf are dropped in {len(self.dropped)} of {len(self)} '
                f"calibration scans, {bad} of {total} in '{path}' for one"
            )

    def _check_scan(
        self, dataset: Dataset, index: int, path: str, nan_points: str | None
    ) -> tuple[str | None, str]:
        """What is wrong with a scan, or None, and what else can be done about it."""
        pipeline = getattr(dataset, 'pipeline', None)
        scans = ScanFormat.of(pipeline)
        if scans is None:
            return None, ''
        drops = any(isinstance(x, FinitePoints) for x in getattr(pipeline, 'transforms', ()))
        sweeps = sweep_paths(dataset, index, scans.num_sweeps) if drops else ()
        problem, bad, total = scans.check(path, nan_points if drops else 'error', sweeps)
        if bad and problem is None:
            self.dropped[path] = bad, total
        return problem, NAN_HINT if drops and 0 < bad < total and nan_points != 'drop' else ''


def _missing_image(dataset: Dataset, index: int) -> str | None:
    missing = missing_image(dataset, index)
    return missing and f"lacks the image of {missing[0]}, '{missing[1]}'"


def dropped_rows(dataset: CalibrationDataset) -> list[dict[str, Any]]:
    """Scans of which points are dropped, for ``ctx.record``."""
    return [
        dict(scan=path, dropped=bad, points=total) for path, (bad, total) in dataset.dropped.items()
    ]


def _collate(collate: Callable[[list], Any], batch: list) -> Any:
    return batch[0] if isinstance(batch[0], str) else collate(batch)


def make_loader(
    dataset: Dataset,
    indices: list[int],
    num_workers: int,
    seed: int = 0,
    nan_points: str | None = None,
    collate: Callable[[list], Any] = pseudo_collate,
) -> DataLoader:
    """Loader of single-sample batches in a fixed order.

    Args:
        dataset (Dataset): Holds the samples.
        indices (list[int]): The ones to take.
        num_workers (int): Processes that read them.
        seed (int): Of random steps. Defaults to 0.
        nan_points (str, optional): See ``CalibrationSettings``.
        collate (Callable): Makes a batch of a list of samples. Defaults to mmengine's.

    Raises:
        QuantizationError: If the file of a sample cannot be used.
    """
    chosen = CalibrationDataset(dataset, indices, seed)
    chosen.check_files(nan_points)
    return DataLoader(
        chosen, batch_size=1, num_workers=num_workers, collate_fn=partial(_collate, collate)
    )


def select(loader: Iterable[Any], positions: Sequence[int]) -> Iterable[Any]:
    """Some batches of a loader, in order; the others are not even read, where that is possible.

    Args:
        loader (Iterable): Of ``make_loader``, a sequence, or anything else with a length.
        positions (Sequence[int]): In ascending order.
    """
    if len(positions) == len(loader):
        return loader
    if isinstance(loader, DataLoader) and isinstance(loader.dataset, CalibrationDataset):
        workers = min(loader.num_workers, len(positions) - 1)
        subset = Subset(loader.dataset, positions)
        return DataLoader(subset, 1, num_workers=max(0, workers), collate_fn=loader.collate_fn)
    if hasattr(loader, '__getitem__'):
        return (loader[position] for position in positions)
    wanted = set(positions)
    return (batch for position, batch in enumerate(loader) if position in wanted)


def calibration_loader(
    cfg: Any, seed: int = 0, num_samples: int | None = None, at_most: int | None = None
) -> DataLoader:
    """Loader of random samples of the train split, or of a folder, through the test pipeline.

    Args:
        cfg (Config): The whole config: ``calibration``, ``train_dataloader``, and a val or test
            dataloader that has the test pipeline.
        seed (int): Of the choice. Defaults to 0.
        num_samples (int, optional): How many. Defaults to ``calibration.num_samples``.
        at_most (int, optional): Limits the number where nothing else sets it. Defaults to None.

    Raises:
        QuantizationError: If there is no test pipeline, or there are too few samples.
    """
    settings = CalibrationSettings.from_config(cfg.get('calibration'))
    loader_cfg = cfg.get('train_dataloader')
    if settings.data is not None:
        dataset, what = _folder(cfg, settings), f"calibration folder '{settings.data}'"
    else:
        dataset, what = _train_split(cfg, settings, loader_cfg), 'the train split'
    count = settings.num_samples if num_samples is None else num_samples
    if at_most is not None:
        count = min(at_most, len(dataset) if count is None else count)
    collate = _collate_of(cfg, dataset)
    indices = choose_samples(len(dataset), count, seed, what, settings.default_samples)
    if settings.data is not None:
        indices = spread_samples(len(dataset), len(indices), seed)
    workers = loader_cfg.get('num_workers', 0) if isinstance(loader_cfg, dict) else 0
    return make_loader(dataset, indices, workers, seed, settings.nan_points, collate)


def _collate_of(cfg: Any, dataset: Dataset) -> Callable[[list], Any]:
    """What the evaluation data makes batches with: calibration samples look like its samples."""
    for key in ('val_dataloader', 'test_dataloader'):
        loader = cfg.get(key)
        if isinstance(loader, DataLoader):
            return loader.collate_fn
        if isinstance(loader, dict) and loader.get('collate_fn') is not None:
            own = dict(dataset=dataset, batch_size=1, num_workers=0)
            own['sampler'] = dict(type='DefaultSampler', shuffle=False)
            return Runner.build_dataloader(dict(own, collate_fn=loader['collate_fn'])).collate_fn
    return pseudo_collate


def _folder(cfg: Any, settings: CalibrationSettings) -> FolderDataset:
    pipelines = pipelines_for(cfg, settings, [{}])
    if pipelines is None:
        raise _no_pipeline()
    leaf = next((x for x in evaluation_leaves(cfg) if x['pipeline'] == pipelines[0]), {})
    pipeline = with_finite_points(pipelines[0], settings.nan_points)
    return FolderDataset(settings.data, pipeline, leaf)


def _train_split(cfg: Any, settings: CalibrationSettings, loader_cfg: Any) -> Dataset:
    if isinstance(loader_cfg, DataLoader):
        if not hasattr(loader_cfg.dataset, '__len__'):
            raise _no_length(type(loader_cfg.dataset).__name__)
        return loader_cfg.dataset
    if not loader_cfg or loader_cfg.get('dataset') is None:
        raise QuantizationError(
            "the config has no 'train_dataloader' to calibrate on: name a folder of images or "
            'scans with --calibration-data'
        )
    train = loader_cfg['dataset']
    leaves = train_leaves(train)
    pipelines = pipelines_for(cfg, settings, leaves)
    if pipelines is None and any(map(takes_pipeline, leaves)):
        raise _no_pipeline()
    found = iter(pipelines or [None] * len(leaves))
    train = with_pipelines(train, lambda: next(found), settings.nan_points)
    loader = dict(dataset=train, batch_size=1, num_workers=0)
    loader['sampler'] = dict(type='DefaultSampler', shuffle=False)
    try:
        dataset = Runner.build_dataloader(loader).dataset
    except TypeError as error:
        if 'has no len()' not in str(error):
            raise
        raise _no_length(str(error).split("'")[1]) from error
    skip_labels(dataset)
    return dataset


def _no_length(kind: str) -> QuantizationError:
    return QuantizationError(
        f'no samples can be chosen from {kind}, the dataset of train_dataloader, because it has no '
        'length: give it __len__ and __getitem__, or calibrate on a folder with --calibration-data '
        'FOLDER'
    )


def _no_pipeline() -> QuantizationError:
    return QuantizationError(
        'the config has no val_dataloader with a test pipeline: PTQ reads its calibration '
        'samples through that pipeline'
    )

"""Two finished runs compared: metrics with intervals, layers, and samples."""

from functools import cache
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS
from torch import Tensor

from mmptq.ptq.run_record import command
from mmptq.quantization import QuantizationError
from mmptq.report import read_run
from mmptq.report.page import compare_content, run_names

from .build import enter_scope
from .changed_samples import changed_samples
from .checkpoint import read_checkpoint
from .evaluation_record import Evaluated, EvaluationPair
from .sample_file import load_samples


def compare_runs(first: str | Path, second: str | Path) -> dict[str, Any]:
    """What the page of two runs shows.

    Args:
        first (str | Path): Work directory of a PTQ run with a report.
        second (str | Path): Of another one on the same evaluation set.

    Raises:
        QuantizationError: If a folder holds no such run, or they were evaluated on other samples.
    """
    folders = first, second
    runs = read_run(first), read_run(second)
    kept = load_samples(first), load_samples(second)
    _check_samples(folders, kept)
    pair = EvaluationPair(*kept, run_names(folders))
    samples, note = [], 'The runs kept no predictions.'
    if pair.has_predictions:
        predictions = [evaluated.predictions for evaluated in kept]
        samples, note = changed_samples(*predictions, cache(lambda: _dataset(first)))
    return compare_content(
        runs,
        folders,
        tuple(evaluated.metrics for evaluated in kept),
        (_scales(first), _scales(second)),
        intervals=pair.intervals(),
        shift=pair.shift(),
        samples=samples,
        samples_note=note,
        command=command(),
    )


def _check_samples(folders: tuple, kept: tuple[Evaluated, Evaluated]) -> None:
    sources = [[sample.source for sample in evaluated.predictions or []] for evaluated in kept]
    sizes = [evaluated.table.num_samples for evaluated in kept if evaluated.table is not None]
    names = [[Path(source).name for source in group] for group in sources]
    if (all(sources) and names[0] != names[1]) or len(set(sizes)) > 1:
        raise QuantizationError(
            f"'{folders[0]}' and '{folders[1]}' were evaluated on other samples: name two runs "
            'with the same val_dataloader'
        )


def _scales(folder: str | Path) -> dict[str, float]:
    """Geometric mean of the scales of each quantizer of a run's checkpoint; none without one."""
    path = Path(folder) / 'quantized.pth'
    if not path.is_file():
        return {}
    state = read_checkpoint(path)['state_dict']
    return {
        name.removesuffix('.scale'): scale.log().mean().exp().item()
        for name, scale in state.items()
        if name.endswith('_quantizer.scale') and isinstance(scale, Tensor) and (scale > 0).all()
    }


def _dataset(folder: str | Path) -> Any:
    """The evaluation set of a run, by the config that mmengine left in its work directory."""
    for path in sorted(Path(folder).glob('*.py')):
        cfg = Config.fromfile(path)
        if cfg.get('val_dataloader'):
            enter_scope(cfg)
            return DATASETS.build(cfg.val_dataloader.dataset)
    return None

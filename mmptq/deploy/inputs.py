"""Calibration inputs of the exported subgraph."""

from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import Tensor, nn

from mmptq.ptq.calibration_data import calibration_loader
from mmptq.ptq.context import PTQContext

from .detector_watch import DetectorWatch
from .exported_subgraph import find_family, subgraph_inputs
from .file_form import FileForm


def collect_inputs(
    cfg: Config,
    detector: nn.Module,
    num_samples: int | None,
    form: FileForm | None = None,
    metadata: dict[str, Any] | None = None,
) -> list[Tensor]:
    """Run calibration samples and collect the inputs of the exported subgraph.

    Args:
        cfg (Config): Names data and pipeline.
        detector (nn.Module): In eval mode.
        num_samples (int, optional): Default is the number of the config, 16 at most.
        form (FileForm, optional): What the file promises is checked on the first sample. Defaults
            to ``FileForm()``.
        metadata (dict, optional): Of the file; what the detector does to images before the file
            gets them is noted there.

    Returns:
        list[Tensor]: Inputs (1, C, H, W), one per sample.

    Raises:
        QuantizationError: If a file cannot hold what the detector computes.
    """
    at_most = 16 if num_samples is None else None
    loader = calibration_loader(cfg, 0, num_samples, at_most)
    ctx = PTQContext(detector, loader, Path(cfg.work_dir), seed=0)
    backbone, _, head = find_family(detector)
    watch = DetectorWatch(detector, backbone, head)
    with subgraph_inputs(detector) as inputs, watch.watching():
        for data in ctx.batches('collect inputs'):
            ctx.predict(data)
    watch.check(form or FileForm())
    if watch.before and metadata is not None:
        metadata['input']['before'] = watch.before
    return inputs

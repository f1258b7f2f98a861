"""Calibration inputs of the exported subgraph."""

from pathlib import Path

from mmengine.config import Config
from torch import Tensor, nn

from mmptq.ptq.calibration_data import calibration_loader
from mmptq.ptq.context import PTQContext

from .exported_subgraph import subgraph_inputs


def collect_inputs(cfg: Config, detector: nn.Module, num_samples: int | None) -> list[Tensor]:
    """Run calibration samples and collect the inputs of the exported subgraph.

    Args:
        cfg (Config): Names data and pipeline.
        detector (nn.Module): In eval mode.
        num_samples (int, optional): Default is the number of the config, 16 at most.

    Returns:
        list[Tensor]: Inputs (1, C, H, W), one per sample.
    """
    at_most = 16 if num_samples is None else None
    loader = calibration_loader(cfg, 0, num_samples, at_most)
    ctx = PTQContext(detector, loader, Path(cfg.work_dir), seed=0)
    with subgraph_inputs(detector) as inputs:
        for data in ctx.batches('collect inputs'):
            ctx.predict(data)
    return inputs

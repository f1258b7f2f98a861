"""The context of a PTQ run without the run: for tools that look at a model on its data."""

import tempfile

from mmengine.config import Config

from mmptq.ptq.context import PTQContext
from mmptq.utils.cli import build_runner

from .ptq_config import prepare_runner_config


def context_of(cfg: Config, num_samples: int | None = None) -> PTQContext:
    """The float model and calibration data of a PTQ config, planned but not quantized.

    Args:
        cfg (Config): A PTQ config with ``load_from``; it is not changed.
        num_samples (int, optional): In place of ``calibration.num_samples``. Defaults to None.

    Returns:
        PTQContext: Of the data that a run with the config would calibrate on (seed 0, unless the
        config has another one). Its work directory is gone.
    """
    cfg = Config(cfg.to_dict(), filename=cfg.filename)
    if num_samples is not None:
        cfg.merge_from_dict({'calibration.num_samples': num_samples})
    prepare_runner_config(cfg, None)
    with tempfile.TemporaryDirectory() as folder:
        cfg.work_dir = folder
        # The stock one has a fixed name, so that a second runner would write to the first's folder.
        cfg.visualizer = dict(type='mmengine.Visualizer', vis_backends=[], name=folder)
        runner = build_runner(cfg)
        loop = runner.train_loop
        runner.load_checkpoint(cfg.load_from)
        ctx = loop.make_context()
        loop.plan(ctx)
    return ctx

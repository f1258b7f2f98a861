"""CenterPoint at full width on the real nuScenes keyframe: a model and its raw outputs.

No trained weights of these networks are at hand. With random weights and untouched BatchNorm
statistics every layer only rescales its input and activations shrink or grow with depth, which says
nothing about quantization. ``build_keyframe_model`` therefore measures the statistics on the
keyframe: each BatchNorm then sees zero mean and unit variance per channel, as in a trained network,
and the pattern of empty and occupied cells is the real one.
"""

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import Tensor, nn


def build_keyframe_model(cfg: Config, seed: int = 0) -> tuple[nn.Module, dict]:
    """Seeded CenterPoint of a keyframe config with measured BatchNorm statistics.

    Args:
        cfg (Config): A config of configs/nuscenes, loaded with MMPTQ_DATA set.
        seed (int): Seed of the weights.

    Returns:
        tuple[nn.Module, dict]: The model in eval mode, and the collated keyframe as its
        ``test_step`` takes it.
    """
    from mmdet3d.registry import MODELS

    init_default_scope('mmdet3d')
    torch.manual_seed(seed)
    model = MODELS.build(cfg.model)
    model.init_weights()
    batch = next(iter(Runner.build_dataloader(cfg.test_dataloader, seed=seed)))
    set_batch_norm_statistics(model, batch)
    return model.eval(), batch


def set_batch_norm_statistics(model: nn.Module, batch: dict, passes: int = 1) -> None:
    """Replace running statistics by the average over forward passes on the batch.

    Args:
        model (nn.Module): A mmdet3d CenterPoint; left in train mode.
        batch (dict): A collated batch.
        passes (int): Forward passes; more than one only matters when the input is random.
    """
    layers = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # cumulative average
    model.train()
    for _ in range(passes):
        raw_outputs(model, batch)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


@torch.no_grad()
def raw_outputs(model: nn.Module, batch: dict) -> dict[str, Tensor]:
    """Head outputs before decoding.

    Args:
        model (nn.Module): A mmdet3d CenterPoint, float or quantized, in the mode to run it in.
        batch (dict): A collated batch.

    Returns:
        dict[str, Tensor]: ``task<i>.<branch>`` to a (1, C, H, W) tensor.
    """
    data = model.data_preprocessor(batch, training=False)
    metas = [sample.metainfo for sample in data['data_samples']]
    _, features = model.extract_feat(data['inputs'], metas)
    tasks = model.pts_bbox_head(features)
    return {
        f'task{index}.{name}': output
        for index, (branches,) in enumerate(tasks)
        for name, output in branches.items()
    }

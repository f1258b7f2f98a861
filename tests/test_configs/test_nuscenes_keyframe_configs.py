"""CenterPoint at full width builds and runs on the real nuScenes keyframe."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

pytest.importorskip('mmdet3d')

import mmdet3d  # noqa: E402
from keyframe import build_keyframe_model, raw_outputs  # noqa: E402

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/nuscenes'
STOCK = Path(mmdet3d.__file__).parent / '.mim/configs/centerpoint'
VARIANTS = ['centerpoint_pillar02', 'centerpoint_voxel01']


def without_scopes(node):
    """Plain copy of a config without the scopes that inheritance from a package adds."""
    if isinstance(node, dict):
        return {key: without_scopes(value) for key, value in node.items() if key != '_scope_'}
    if isinstance(node, list | tuple):
        return [without_scopes(value) for value in node]
    return node


@pytest.mark.parametrize('name', VARIANTS)
def test_model_and_pipeline_are_the_stock_ones(name, monkeypatch):
    monkeypatch.delenv('MMPTQ_DATA', raising=False)
    cfg = Config.fromfile(CONFIGS / f'{name}_keyframe.py')
    stock = Config.fromfile(STOCK / f'{name}_second_secfpn_8xb4-cyclic-20e_nus-3d.py')
    assert without_scopes(cfg.model) == without_scopes(stock.model)
    dataset, stock_dataset = cfg.test_dataloader.dataset, stock.test_dataloader.dataset
    assert without_scopes(dataset.pipeline) == without_scopes(stock_dataset.pipeline)
    assert dataset.data_root == 'data/nuscenes_keyframe/'


@pytest.mark.parametrize('name', [VARIANTS[0], pytest.param(VARIANTS[1], marks=pytest.mark.slow)])
def test_raw_outputs_on_the_keyframe(name, monkeypatch, real_data):
    if 'voxel' in name:
        pytest.importorskip('spconv')
    monkeypatch.setenv('MMPTQ_DATA', str(real_data))
    model, batch = build_keyframe_model(Config.fromfile(CONFIGS / f'{name}_keyframe.py'))
    points, sample = batch['inputs']['points'][0], batch['data_samples'][0]
    # Ten times the 34,688 points, less those on the vehicle itself in the nine repetitions.
    assert 240_000 < len(points) < 346_880
    # The objects that at least one point fell on.
    assert len(sample.eval_ann_info['gt_labels_3d']) == 66

    normalised = []
    norm = model.pts_backbone.blocks[-1][1]
    # The ReLU that follows works in place.
    norm.register_forward_hook(lambda module, args, output: normalised.append(output.clone()))
    outputs = raw_outputs(model, batch)
    assert len(outputs) == 6 * 6
    assert outputs['task0.heatmap'].shape == (1, 1, 128, 128)
    for key, output in outputs.items():
        assert torch.isfinite(output).all(), key
        assert output.std() > 1e-2, f'{key} is dead'
    # The measured statistics hold in eval mode: unit activations as in a trained network.
    channels = normalised[0].transpose(0, 1).flatten(1)
    assert channels.mean(1).abs().max() < 0.01
    assert (channels.std(1) - 1).abs().max() < 0.01

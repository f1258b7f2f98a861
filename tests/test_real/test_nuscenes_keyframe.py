"""CenterPoint at full width on a real nuScenes keyframe: float and INT8, layer by layer.

There are no trained weights and there is one frame, so it serves for calibration and comparison:
this shows that the stock models run quantized on real input, not what they score. Random weights
amplify any noise from layer to layer (no training has made them robust), so each layer is judged on
its float input; the raw outputs of the whole network are printed too (``pytest -s``).
"""

from pathlib import Path

import pytest
import torch
from mmengine.logging import MMLogger

pytest.importorskip('mmdet3d')

from helpers import ptq_settings  # noqa: E402
from keyframe import build_keyframe_model, raw_outputs  # noqa: E402

from mmptq.ptq import Calibrator, PTQContext  # noqa: E402
from mmptq.ptq.run import prepare_model  # noqa: E402
from mmptq.quantization import quantizers_off  # noqa: E402

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
MSE = dict(type='LpObserver', p=2.0)


def signal_to_noise(target: torch.Tensor, pred: torch.Tensor) -> float:
    """In decibels."""
    return float(10 * torch.log10(target.square().sum() / (pred - target).square().sum()))


def features(x) -> torch.Tensor:
    return x if isinstance(x, torch.Tensor) else x.features


def layer_ratios(ctx: PTQContext, batch: dict) -> dict[str, float]:
    """Signal-to-noise of every quantized layer's output, given its float input."""
    ratios, handles = {}, []

    def hook(name):
        def compare(layer, args, output):
            slots = (layer.weight_quantizer, layer.input_quantizer)
            for slot in slots:
                slot.enabled = True
            quantized = type(layer).forward(layer, *args)
            for slot in slots:
                slot.enabled = False
            ratios[name] = signal_to_noise(features(output), features(quantized))

        return compare

    for name, unit in ctx.layers.items():
        handles.append(unit.module.register_forward_hook(hook(name)))
    with quantizers_off(ctx.model):
        raw_outputs(ctx.model, batch)
    for handle in handles:
        handle.remove()
    return ratios


@pytest.mark.slow
@pytest.mark.parametrize('name', ['centerpoint_pillar02', 'centerpoint_voxel01'])
def test_int8_layers_are_close_to_float(name, monkeypatch, real_data, tmp_path):
    if 'voxel' in name:
        pytest.importorskip('spconv')
    monkeypatch.setenv('MMPTQ_DATA', str(real_data))
    MMLogger.get_instance('keyframe')
    cfg = ptq_settings(CONFIGS / f'nuscenes/{name}_keyframe.py', 'int8', 'mse')
    model, batch = build_keyframe_model(cfg)
    expected = raw_outputs(model, batch)
    ctx = PTQContext(model, [batch], tmp_path, seed=0)
    prepare_model(ctx, cfg.quantizer)
    Calibrator(weight_observer=MSE, act_observer=MSE).run(ctx)

    with quantizers_off(model):  # BatchNorms are folded, nothing else changed
        folded = raw_outputs(model, batch)
    assert min(signal_to_noise(expected[key], folded[key]) for key in expected) > 80
    quantized = raw_outputs(model, batch)
    outputs = [signal_to_noise(expected[key], quantized[key]) for key in expected]
    layers = layer_ratios(ctx, batch)
    lowest = min(layers, key=layers.get)
    print(
        f'{name}: {len(layers)} layers quantized, lowest {layers[lowest]:.1f} dB ({lowest}), mean '
        f'{sum(layers.values()) / len(layers):.1f} dB; raw outputs {min(outputs):.1f} to '
        f'{max(outputs):.1f} dB'
    )
    if 'voxel' in name:
        kinds = [layer.kind for layer in ctx.plan.layers if layer.quantized]
        assert sum('Conv3d' in kind for kind in kinds) == 21
    assert layers.keys() == ctx.layers.keys()
    assert layers[lowest] > 20
    assert min(outputs) > 3

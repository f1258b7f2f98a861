"""Every recipe with a loss, on small detectors with queries."""

import pytest
import torch
from mmengine.logging import MMLogger
from query_models_3d import DETR3D, PETR, build_projects, camera_batch
from reconstruction import W4A4
from stock_models import QUERY_STOCK, build_stock, image_batch, query_config
from torch import nn

from mmptq.ptq import PTQContext
from mmptq.ptq.run import prepare_model, run_stages
from mmptq.ptq.stages.recipe import build_stages
from mmptq.quantization import quantized_layers
from mmptq.report import read_record
from mmptq.utils.config_files import base_config

RECIPES = ['brecq', 'detptq', 'distill', 'inlierq', 'pd_quant', 'qdrop']
PROJECTS = dict(petr=PETR, detr3d=DETR3D)
QUICK = [('deformable_detr', 'distill'), ('deformable_detr', 'qdrop'), ('petr', 'brecq')]
REST = [
    (family, recipe)
    for family in (*QUERY_STOCK, *PROJECTS)
    for recipe in RECIPES
    if (family, recipe) not in QUICK
]
CASES = QUICK + [pytest.param(*case, marks=pytest.mark.slow) for case in REST]
# Few steps on one sample; a low threshold, because random weights give low scores.
LOSS = dict(type='DetectionOutputLoss', score_thr=0.01)
SHORT = dict(
    Reconstructor=dict(num_iters=2, batch_size=1),
    Distillation=dict(num_iters=2, batch_size=1, loss=LOSS),
    LpSelector=dict(
        num_samples=1, search_samples=1, num_candidates=4, exponents=[2.0, 4.0, 2.0], loss=LOSS
    ),
    ScaleRefiner=dict(num_samples=1),
)


class Unchanged(nn.Module):
    """Gives batches back that are prepared already."""

    def forward(self, batch, training):
        return batch


def stages_of(recipe: str) -> list[dict]:
    stages = base_config('recipe', recipe).stages
    return [dict(stage, **SHORT.get(stage['type'], {})) for stage in stages]


def context(family: str, folder) -> PTQContext:
    MMLogger.get_instance('test_query_recipes')
    if family in PROJECTS:
        model, batch = build_projects(PROJECTS[family]), camera_batch()
    else:
        model = build_stock(query_config(family))
        batch = image_batch(model, size=64)
    model.data_preprocessor = Unchanged()
    return PTQContext(model, [batch], folder, seed=0)


@pytest.mark.parametrize(('family', 'recipe'), CASES)
def test_recipe(family, recipe, tmp_path):
    ctx = context(family, tmp_path)
    prepare_model(ctx, W4A4)
    run_stages(ctx, build_stages(stages_of(recipe)))
    layers = quantized_layers(ctx.model)
    assert layers and all(torch.isfinite(x).all() for x in ctx.model.state_dict().values())
    for layer in layers.values():
        assert getattr(layer.input_quantizer, 'calibrated', True)
    if recipe in ('brecq', 'qdrop', 'pd_quant'):
        units = {row['unit'] for row in read_record(tmp_path, 'reconstruction')}
        if family in QUERY_STOCK:
            assert {'backbone.layer1.0', 'encoder.layers.0', 'decoder.layers.1'} <= units
    quantizers = [layer.weight_quantizer for layer in layers.values()]
    if recipe in ('brecq', 'qdrop'):
        assert any(quantizer.rounding is not None for quantizer in quantizers)

"""Which layers of detectors with queries stay float under INT8, and why."""

import pytest
from helpers import QUANTIZER
from mmengine.hub import get_config
from query_models_3d import PETR, build_projects, camera_batch
from stock_models import QUERY_STOCK, build_stock, image_batch, query_config

from mmptq.ptq.inputs.model_inputs import run_model
from mmptq.quantization import coverage_rows, make_plan
from mmptq.quantization.placement import BUILT_IN

FIRST = 'decoder.layers.0.self_attn.attn'
COORDINATES = {
    'detr': {f'{FIRST}.{name}_proj' for name in 'qkv'},
    'conditional_detr': {
        'decoder.ref_point_head.layers.0',
        *(f'decoder.layers.0.self_attn.{x}_proj' for x in ('qcontent', 'kcontent', 'v')),
        *(f'decoder.layers.{i}.self_attn.{x}pos_proj' for i in (0, 1) for x in 'qk'),
        *(f'decoder.layers.{i}.cross_attn.kpos_proj' for i in (0, 1)),
        'decoder.layers.0.cross_attn.qpos_proj',
    },
    'dab_detr': {
        *(f'decoder.layers.0.self_attn.{x}_proj' for x in ('qcontent', 'kcontent', 'v')),
        *(f'decoder.layers.{i}.cross_attn.kpos_proj' for i in (0, 1)),
        'decoder.layers.0.cross_attn.qpos_sine_proj',
    },
    'deformable_detr': {'reference_points_fc', *(f'{FIRST}.{name}_proj' for name in 'qkv')},
    'deformable_two_stage': set(),
    'dino': {f'{FIRST}.v_proj'},
}

# Quantized layers of the stock configs.
STOCK_LAYERS = dict(deformable_detr=174, dino=183)


@pytest.mark.parametrize('family', QUERY_STOCK)
def test_float_layers_have_a_reason(family):
    model = build_stock(query_config(family))
    data = image_batch(model)
    plan = make_plan(model, QUANTIZER, lambda: model(**data, mode='predict'))
    layers = {layer.name: layer for layer in plan.layers if not layer.quantized}
    positions = {n for n, layer in layers.items() if layer.reason == BUILT_IN[0]['reason']}
    assert positions == COORDINATES[family]
    idle = {name for name, layer in layers.items() if layer.reason.startswith('never executed')}
    assert set(layers) == positions | idle
    assert set(plan.unsupported.values()) <= {'Embedding', f'{type(model).__name__}.level_embed'}
    notes = [row['note'] for row in coverage_rows(plan) if row['weight'] == 'float']
    assert all(notes)


def test_roles():
    model = build_stock(query_config('deformable_detr'))
    data = image_batch(model)
    quantizer = dict(
        QUANTIZER,
        rules=[
            dict(role='attention', act=dict(bits=16), reason='projection'),
            dict(role='coordinates', weight=dict(bits=8), act=dict(bits=16), reason='positions'),
        ],
    )
    plan = make_plan(model, quantizer, lambda: model(**data, mode='predict'))
    layers = {layer.name: layer for layer in plan.layers}
    projections = {name for name, layer in layers.items() if layer.reason == 'projection'}
    assert 'encoder.layers.0.self_attn.value_proj' in projections
    assert f'{FIRST}.out_proj' in projections
    assert all('attn' in name for name in projections)
    positions = {name for name, layer in layers.items() if layer.reason == 'positions'}
    assert positions == COORDINATES['deformable_detr']
    assert all(layers[name].act.bits == 16 for name in positions)
    assert all(layer.quantized for layer in layers.values())


def test_petr():
    model, data = build_projects(PETR), camera_batch()
    plan = make_plan(model, QUANTIZER, lambda: run_model(model, data))
    floats = {layer.name for layer in plan.layers if not layer.quantized}
    head = 'pts_bbox_head'
    assert floats == {f'{head}.position_encoder', f'{head}.query_embedding.0'}


@pytest.mark.slow
@pytest.mark.parametrize('family', ['deformable_detr', 'dino'])
def test_stock_sizes(family):
    """The stock configs as they are, on a small image."""
    cfg = get_config(f'mmdet::{QUERY_STOCK[family]}.py').model
    cfg.backbone.init_cfg = None
    cfg.data_preprocessor.batch_augments = None
    if family == 'dino':
        cfg.num_queries = 100  # of 900, which a small image does not have
    model = build_stock(cfg)
    data = image_batch(model)
    plan = make_plan(model, QUANTIZER, lambda: model(**data, mode='predict'))
    floats = {layer.name: layer.reason for layer in plan.layers if not layer.quantized}
    positions = {name for name, reason in floats.items() if reason == BUILT_IN[0]['reason']}
    assert positions == COORDINATES[family]
    assert set(floats) == positions
    assert sum(layer.quantized for layer in plan.layers) == STOCK_LAYERS[family]
    assert not plan.unfolded


def test_products_of_detr():
    model = build_stock(query_config('detr'))
    data = image_batch(model)
    quantizer = dict(QUANTIZER, products=dict(bits=8))
    plan = make_plan(model, quantizer, lambda: model(**data, mode='predict'))
    inside = {f'decoder.layers.{i}.{part}_attn.attn' for i in (0, 1) for part in ('self', 'cross')}
    inside.add('encoder.layers.0.self_attn.attn')
    assert {name: item.count for name, item in plan.products.items()} == dict.fromkeys(inside, 2)
    assert not {name for name, (kind, _) in plan.float_parts.items() if 'Attention' in kind}

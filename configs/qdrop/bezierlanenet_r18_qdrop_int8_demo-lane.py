_base_ = [
    '../demo/bezierlanenet_r18_demo-lane.py',
    '../_base_/schemes/int8.py',
    '../_base_/recipes/qdrop.py',
]
custom_imports = dict(imports=['mmptq'], allow_failed_imports=False)
custom_hooks = [dict(type='QuantizationHook')]
train_cfg = dict(_delete_=True, type='PTQLoop')
load_from = '{{ fileDirname }}/../demo/checkpoints/bezierlanenet_r18_demo-lane.pth'
# The branch that helps training does not run in a test.
quantizer = dict(
    rules=[
        *_base_.quantizer.rules,
        dict(name='lane_head.mask_head.*', weight=None, act=None, reason='training only'),
    ]
)
# As one unit the head would learn its scores alone: their squared errors are hundreds of times
# those of the control points, which are shares of the image.
stages = [
    dict(stage, units=[dict(name='lane_head', granularity='layer')])
    if stage['type'] == 'Reconstructor'
    else stage
    for stage in _base_.stages
]

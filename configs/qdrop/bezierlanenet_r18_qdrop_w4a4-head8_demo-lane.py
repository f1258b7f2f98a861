# BezierLaneNet with 8 bits also in the two hidden layers of its head, 7 % of the weights of the
# demo model: they alone see a lane as one of a few columns, and every error in them moves it.
_base_ = [
    '../demo/bezierlanenet_r18_demo-lane.py',
    '../_base_/schemes/w4a4.py',
    '../_base_/recipes/qdrop.py',
]
custom_imports = dict(imports=['mmptq'], allow_failed_imports=False)
custom_hooks = [dict(type='QuantizationHook')]
train_cfg = dict(_delete_=True, type='PTQLoop')
load_from = '{{ fileDirname }}/../demo/checkpoints/bezierlanenet_r18_demo-lane.pth'
ptq = dict(
    rules=[
        *_base_.ptq.rules,
        dict(
            name='lane_head.hidden.*',
            weight=dict(bits=8),
            act=dict(bits=8),
            reason='control points: 8 bit',
        ),
    ]
)

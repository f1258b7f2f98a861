_base_ = [
    '../demo/scnn_r18_demo-lane.py',
    '../_base_/schemes/w4a4.py',
    '../_base_/recipes/adaround.py',
]
custom_imports = dict(imports=['mmptq'], allow_failed_imports=False)
custom_hooks = [dict(type='QuantizationHook')]
train_cfg = dict(_delete_=True, type='PTQLoop')
load_from = '{{ fileDirname }}/../demo/checkpoints/scnn_r18_demo-lane.pth'
# The existence branch goes on from the scores of pixels, so they are no last layer.
quantizer = dict(
    rules=[
        *_base_.quantizer.rules,
        dict(
            name='lane_head.decoder.classify',
            weight=dict(bits=8),
            act=dict(bits=8),
            reason='head output: 8 bit',
        ),
    ]
)

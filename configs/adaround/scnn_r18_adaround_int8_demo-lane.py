_base_ = [
    '../demo/scnn_r18_demo-lane.py',
    '../_base_/schemes/int8.py',
    '../_base_/recipes/adaround.py',
]
custom_imports = dict(imports=['mmptq'], allow_failed_imports=False)
custom_hooks = [dict(type='QuantizationHook')]
train_cfg = dict(_delete_=True, type='PTQLoop')
load_from = '{{ fileDirname }}/../demo/checkpoints/scnn_r18_demo-lane.pth'

_base_ = [
    '../demo/laneatt_r18_demo-lane.py',
    '../_base_/schemes/w4a4.py',
    '../_base_/recipes/adaround.py',
]
custom_imports = dict(imports=['mmptq'], allow_failed_imports=False)
custom_hooks = [dict(type='QuantizationHook')]
train_cfg = dict(_delete_=True, type='PTQLoop')
load_from = '{{ fileDirname }}/../demo/checkpoints/laneatt_r18_demo-lane.pth'

_base_ = [
    '../demo/fcos3d_r18_fpn_demo-nus-mono.py',
    '../_base_/schemes/int8.py',
    '../_base_/recipes/mse.py',
]
custom_hooks = [dict(type='QuantizationHook')]
train_cfg = dict(_delete_=True, type='PTQLoop')
load_from = '{{ fileDirname }}/../demo/checkpoints/fcos3d_r18_fpn_demo-nus-mono.pth'

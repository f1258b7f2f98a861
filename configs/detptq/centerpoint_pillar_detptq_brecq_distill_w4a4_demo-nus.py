_base_ = [
    '../demo/centerpoint_pillar_demo-nus.py',
    '../_base_/schemes/w4a4_lidar.py',
    '../_base_/recipes/detptq_brecq_distill.py',
]
custom_imports = dict(imports=['mmptq'], allow_failed_imports=False)
custom_hooks = [dict(type='QuantizationHook')]
train_cfg = dict(_delete_=True, type='PTQLoop')
load_from = '{{ fileDirname }}/../demo/checkpoints/centerpoint_pillar_demo-nus.pth'
calibration = dict(num_samples=128)

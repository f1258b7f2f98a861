_base_ = [
    '../demo/deformable-detr_r18_demo-coco.py',
    '../_base_/schemes/int8.py',
    '../_base_/recipes/mse.py',
]
custom_imports = dict(imports=['mmptq'], allow_failed_imports=False)
custom_hooks = [dict(type='QuantizationHook')]
train_cfg = dict(_delete_=True, type='PTQLoop')
load_from = '{{ fileDirname }}/../demo/checkpoints/deformable-detr_r18_demo-coco.pth'

_base_ = [
    '../yolox/yolox_nano_coco-mini.py',
    '../_base_/schemes/w4a8.py',
    '../_base_/recipes/brecq_distill.py',
]
custom_imports = dict(imports=['mmptq'], allow_failed_imports=False)
custom_hooks = [dict(type='QuantizationHook')]
train_cfg = dict(_delete_=True, type='PTQLoop')
# All training images that there are.
calibration = dict(num_samples=100)

_base_ = [
    '../yolox/yolox_nano_coco-mini.py',
    '../_base_/schemes/w4a8_depthwise.py',
    '../_base_/recipes/mse.py',
]
custom_imports = dict(imports=['mmptq'], allow_failed_imports=False)
custom_hooks = [dict(type='QuantizationHook')]
train_cfg = dict(_delete_=True, type='PTQLoop')
calibration = dict(num_samples=8)

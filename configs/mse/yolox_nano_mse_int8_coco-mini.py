# YOLOX-nano in 8 bits throughout.
_base_ = [
    '../yolox/yolox_nano_coco-mini.py',
    '../_base_/schemes/int8.py',
    '../_base_/recipes/mse.py',
]
custom_imports = dict(imports=['mmptq'], allow_failed_imports=False)
custom_hooks = [dict(type='QuantizationHook')]
train_cfg = dict(_delete_=True, type='PTQLoop')

_base_ = [
    'mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py',
    '../_base_/schemes/int8.py',
    '../_base_/recipes/mse.py',
]
custom_imports = dict(imports=['mmptq'], allow_failed_imports=False)
custom_hooks = [dict(type='QuantizationHook')]
train_cfg = dict(_delete_=True, type='PTQLoop')

# Every sparse convolution is quantized. The input of the first one are raw points: 16 bits.
quantizer = dict(
    rules=[dict(role='first', act=dict(bits=16), reason='first layer: raw points, 16-bit input')]
)

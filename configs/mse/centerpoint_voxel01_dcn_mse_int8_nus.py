_base_ = [
    'mmdet3d::centerpoint/centerpoint_voxel01_second_secfpn_head-dcn_8xb4-cyclic-20e_nus-3d.py',
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

_base_ = [
    'mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py',
    '../_base_/schemes/int8_sparse.py',
    '../_base_/recipes/lidar_ptq.py',
]
custom_imports = dict(imports=['mmptq'], allow_failed_imports=False)
custom_hooks = [dict(type='QuantizationHook')]
train_cfg = dict(_delete_=True, type='PTQLoop')

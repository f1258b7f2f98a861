_base_ = [
    '../kitti/pointpillars_kitti-mini.py',
    '../_base_/schemes/w4a8_lidar.py',
    '../_base_/recipes/lidar_ptq.py',
]
custom_imports = dict(imports=['mmptq'], allow_failed_imports=False)
custom_hooks = [dict(type='QuantizationHook')]
train_cfg = dict(_delete_=True, type='PTQLoop')
load_from = '{{$MMPTQ_DATA:data}}/weights/pointpillars_kitti_mini.pth'
calibration = dict(num_samples=56)
# Few steps: a CPU takes minutes.
stages = [_base_.calibrator, dict(_base_.reconstructor, num_iters=20, batch_size=1)]

_base_ = [
    '../kitti/pointpillars_kitti-mini.py',
    '../_base_/schemes/int8.py',
    '../_base_/recipes/lidar_ptq.py',
]
custom_imports = dict(imports=['mmptq'], allow_failed_imports=False)
custom_hooks = [dict(type='QuantizationHook')]
train_cfg = dict(_delete_=True, type='PTQLoop')
load_from = '{{$MMPTQ_DATA:data}}/weights/pointpillars_kitti_mini.pth'
# A fifth of the steps of the recipe, one scan each: minutes on a CPU.
stages = [_base_.calibrator, dict(_base_.reconstructor, num_iters=100, batch_size=1)]

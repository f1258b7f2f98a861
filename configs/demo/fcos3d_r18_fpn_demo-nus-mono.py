"""FCOS3D-R18 on the cameras of the demo data set in nuScenes format, on a CPU.

It starts from the backbone and the FPN of the demo ATSS.

python tools/dataset_converters/make_demo_data.py nuscenes
python tools/train.py configs/demo/fcos3d_r18_fpn_demo-nus-mono.py
"""

_base_ = [
    '../_base_/models/fcos3d_r18_narrow.py',
    '../_base_/datasets/demo_nuscenes_mono.py',
    '../_base_/schedules/demo_lidar.py',
]

custom_imports = dict(imports=['mmptq'], allow_failed_imports=False)
checkpoint = '{{ fileDirname }}/checkpoints/atss_r18_fpn_demo-coco.pth'
model = dict(
    backbone=dict(
        init_cfg=dict(_delete_=True, type='Pretrained', prefix='backbone.', checkpoint=checkpoint)
    ),
    neck=dict(init_cfg=dict(type='Pretrained', prefix='neck.', checkpoint=checkpoint)),
)

# A constant rate that decays in the last fifth, and a moving average of the weights, which is what
# is saved and scored.
max_iters = 5000
lr = 1e-3
optim_wrapper = dict(optimizer=dict(lr=lr))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=100),
    dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        begin=max_iters - 1000,
        end=max_iters,
        T_max=1000,
        eta_min=1e-5,
    ),
]
train_cfg = dict(
    _delete_=True, type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters
)
train_dataloader = dict(batch_size=2, sampler=dict(type='InfiniteSampler'))
custom_hooks = [
    dict(
        type='EMAHook',
        ema_type='mmdet.ExpMomentumEMA',
        momentum=0.004,
        gamma=100,
        update_buffers=True,
    )
]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=250, max_keep_ckpts=2))
log_processor = dict(by_epoch=False)

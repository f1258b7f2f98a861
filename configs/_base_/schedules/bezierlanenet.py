# BezierLaneNet, section 4.2 of https://arxiv.org/abs/2203.02431: Adam and a cosine; batches of 20.
# A leaf sets max_epochs.
_base_ = 'mmdet::_base_/default_runtime.py'

custom_imports = dict(imports=['mmptq'], allow_failed_imports=False)
max_epochs = 36
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=6e-4),
    paramwise_cfg=dict(custom_keys={'fusion.offset': dict(lr_mult=0.1)}),
)
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        T_max=max_epochs,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=6)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(checkpoint=dict(interval=6, max_keep_ckpts=3))

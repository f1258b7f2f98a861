# GANet as its published code trains it: Adam, short warm-up, linear decay, clipped gradients.
_base_ = 'mmdet::_base_/default_runtime.py'

custom_imports = dict(imports=['mmptq'], allow_failed_imports=False)
max_epochs = 60
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=1e-3),
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=100),
    dict(
        type='PolyLR',
        power=1.0,
        eta_min=1e-8,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(checkpoint=dict(interval=2, max_keep_ckpts=3))

_base_ = 'mmdet3d::_base_/default_runtime.py'

# AdamW with one cycle of the learning rate, short enough for one CPU core.
max_epochs = 10
lr = 3e-3
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=lr, betas=(0.95, 0.99), weight_decay=0.01),
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [
    dict(
        type='OneCycleLR',
        eta_max=lr,
        total_steps=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
        pct_start=0.3,
        div_factor=10,
        final_div_factor=1000,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=max_epochs)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(enable=False, base_batch_size=2)
randomness = dict(seed=0, deterministic=True)
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=1, save_optimizer=False))

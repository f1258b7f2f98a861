# CLRNet, section 4.2 of https://arxiv.org/abs/2203.10350: AdamW, cosine annealed over all batches.
_base_ = 'mmdet::_base_/default_runtime.py'

custom_imports = dict(imports=['mmptq'], allow_failed_imports=False)
max_epochs = 15
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=6e-4))
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        T_max=max_epochs,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# CondLaneNet as its published code trains it on CULane: Adam, short constant warm-up, two steps.
_base_ = 'mmdet::_base_/default_runtime.py'

custom_imports = dict(imports=['mmptq'], allow_failed_imports=False)
max_epochs = 16
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=3e-4))
param_scheduler = [
    dict(type='ConstantLR', factor=1 / 3, by_epoch=False, begin=0, end=100),
    dict(type='MultiStepLR', milestones=[8, 14], gamma=0.1, by_epoch=True, end=max_epochs),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

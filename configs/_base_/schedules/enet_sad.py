# ENet-SAD on CULane: batches of 12 images, 60,000 iterations with polynomial decay.
_base_ = './lane_poly.py'

max_iters = 60000
optim_wrapper = dict(optimizer=dict(lr=0.01, nesterov=True))
param_scheduler = [dict(type='PolyLR', power=0.9, end=max_iters, by_epoch=False)]
train_cfg = dict(
    _delete_=True, type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters // 4
)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=max_iters // 12, max_keep_ckpts=3))
log_processor = dict(by_epoch=False)

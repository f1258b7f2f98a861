# ENet-SAD on TuSimple; distillation begins after two thirds of the training.
_base_ = './enet_tusimple.py'

model = dict(distillation=dict(type='SADLoss', stages=(1, 2, 3), loss_weight=0.1))
custom_hooks = [dict(type='SADHook', begin=33333)]

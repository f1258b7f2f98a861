# SCNN with self attention distillation between the last three stages of its ResNet-18, which begins
# after two thirds of the training.
_base_ = './scnn_r18_culane.py'

model = dict(
    backbone=dict(out_indices=(0, 1, 2, 3)),
    distillation=dict(type='SADLoss', stages=(1, 2, 3)),
)
custom_hooks = [dict(type='SADHook', begin=35552)]

# RESA with ResNet-34 on CULane.
_base_ = './resa_r18_culane.py'

model = dict(backbone=dict(depth=34, init_cfg=dict(checkpoint='torchvision://resnet34')))

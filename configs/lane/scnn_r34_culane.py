# SCNN with ResNet-34 on CULane.
_base_ = './scnn_r18_culane.py'

model = dict(backbone=dict(depth=34, init_cfg=dict(checkpoint='torchvision://resnet34')))

# SCNN with ResNet-34 on TuSimple.
_base_ = './scnn_r18_tusimple.py'

model = dict(backbone=dict(depth=34, init_cfg=dict(checkpoint='torchvision://resnet34')))

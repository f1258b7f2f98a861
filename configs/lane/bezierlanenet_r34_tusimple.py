# The same with ResNet-34.
_base_ = './bezierlanenet_r18_tusimple.py'

model = dict(
    backbone=dict(depth=34, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet34'))
)

# LaneATT with ResNet-34 on TuSimple.
_base_ = './laneatt_r18_tusimple.py'

model = dict(
    backbone=dict(depth=34, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet34'))
)

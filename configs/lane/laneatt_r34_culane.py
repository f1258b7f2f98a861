# LaneATT with ResNet-34 on CULane.
_base_ = './laneatt_r18_culane.py'

model = dict(
    backbone=dict(depth=34, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet34'))
)

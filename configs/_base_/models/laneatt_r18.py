# LaneATT with ResNet-18 on 640x360 input. BGR images from 0 to 1, as its authors use them.
model = dict(
    type='LaneDetector',
    data_preprocessor=dict(type='DetDataPreprocessor', mean=[0, 0, 0], std=[255, 255, 255]),
    backbone=dict(
        type='ResNet',
        depth=18,
        out_indices=(3,),
        norm_eval=False,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet18'),
    ),
    lane_head=dict(type='LaneATTHead', in_channels=512, image_size=(640, 360), num_anchors=1000),
)
# Without a file of anchor_frequency the anchors are chosen by the training data.
custom_hooks = [dict(type='LaneAnchorHook')]

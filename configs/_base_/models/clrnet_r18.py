# CLRNet with ResNet-18 on 800x320 input. BGR images from 0 to 1, as its authors use them.
model = dict(
    type='LaneDetector',
    data_preprocessor=dict(type='DetDataPreprocessor', mean=[0, 0, 0], std=[255, 255, 255]),
    backbone=dict(
        type='ResNet',
        depth=18,
        out_indices=(1, 2, 3),
        norm_eval=False,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet18'),
    ),
    neck=dict(type='FPN', in_channels=[128, 256, 512], out_channels=64, num_outs=3),
    lane_head=dict(type='CLRHead', in_channels=64, image_size=(800, 320)),
)
ptq = dict(
    rules=[
        # The branch that helps training does not run in a test.
        dict(name='lane_head.mask_head.*', weight=None, act=None, reason='training only'),
        # The next stage goes on from its lines, so it has no role "last"; they are an output of
        # the head all the same.
        dict(
            name='lane_head.locate',
            weight=dict(bits=8),
            act=dict(bits=8),
            reason='head output: 8 bit',
        ),
    ],
    # As one unit the head would learn its scores alone: their squared errors are hundreds of times
    # those of lines and offsets, which are shares of the image.
    units=[dict(name='lane_head', granularity='layer')],
)

# SCNN behind a ResNet-18 whose last two stages are dilated instead of strided; 800x288 input.
model = dict(
    type='LaneDetector',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(
        type='ResNet',
        depth=18,
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
        out_indices=(3,),
        norm_eval=False,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet18'),
    ),
    neck=dict(type='SCNN', in_channels=512),
    lane_head=dict(
        type='LaneSegHead',
        num_lanes=4,
        decoder=dict(type='LinearDecoder', num_classes=5),
        existence=dict(type='LaneExistence', num_lanes=4, feat_size=(36, 100)),
        decoding=dict(max_rows=18),
    ),
)
# The existence branch goes on from the scores of pixels, so they have no role "last"; they are an
# output of the head all the same.
ptq = dict(
    rules=[
        dict(
            name='lane_head.decoder.classify',
            weight=dict(bits=8),
            act=dict(bits=8),
            reason='head output: 8 bit',
        )
    ]
)

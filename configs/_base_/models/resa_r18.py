# RESA behind the first three stages of a ResNet-18, the third dilated instead of strided; 800x288.
# BGR images without their mean, as the authors use them.
model = dict(
    type='LaneDetector',
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=[103.939, 116.779, 123.68], std=[1, 1, 1]
    ),
    backbone=dict(
        type='ResNet',
        depth=18,
        num_stages=3,
        strides=(1, 2, 1),
        dilations=(1, 1, 2),
        out_indices=(2,),
        norm_eval=False,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet18'),
    ),
    neck=dict(type='RESA', in_channels=256),
    lane_head=dict(
        type='LaneSegHead',
        num_lanes=4,
        decoder=dict(type='BUSDDecoder', num_classes=5),
        existence=dict(
            type='LaneExistence', num_lanes=4, feat_size=(36, 100), in_channels=128, dropout=0.1
        ),
    ),
)

# ENet-SAD without the distillation: 0.95 million parameters, 800x288 input, four lane positions.
model = dict(
    type='LaneDetector',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[91.75, 93.15, 93.38],
        std=[65.61, 67.91, 70.28],
        bgr_to_rgb=True,
    ),
    backbone=dict(type='ENet'),
    lane_head=dict(
        type='LaneSegHead',
        num_lanes=4,
        decoder=dict(type='ENetDecoder', num_classes=5),
        existence=dict(type='LaneExistence', num_lanes=4, feat_size=(36, 100), in_channels=128),
        iou_weight=0.1,
        decoding=dict(max_rows=18),
    ),
)

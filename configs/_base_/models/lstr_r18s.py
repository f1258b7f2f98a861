# LSTR with its reduced ResNet-18, for any size of input. BGR images, normalised as its authors do.
model = dict(
    type='LaneDetector',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[104.01362, 114.03422, 119.91660],
        std=[73.60278, 69.89082, 70.91508],
    ),
    backbone=dict(type='ReducedResNet', depth=18, base_channels=16, out_indices=(3,)),
    lane_head=dict(
        type='LSTRHead',
        in_channels=128,
        transformer=dict(
            type='LaneTransformer',
            embed_dims=32,
            num_heads=2,
            feedforward_channels=128,
            num_layers=2,
            dropout=0.1,
        ),
        num_queries=7,
    ),
)
# The small layers that give the numbers of curves. Slope and offset of a curve nearly cancel: an
# error of 0.4 % in the middle layer's weight alone moves lanes by 14 of 1280 pixels.
ptq = dict(
    rules=[
        dict(
            name='lane_head.specific_embed.*', weight=None, act=None, reason='curve numbers: float'
        ),
        dict(
            name='lane_head.shared_embed.*',
            weight=None,
            act=None,
            reason='curve numbers: float',
            max_bits=4,
        ),
        # The first decoder layer reads its queries only, which is float by default; the published
        # numbers have 8 bits.
        dict(role='coordinates', weight=dict(bits=8), act=dict(bits=8), reason='8 bits'),
    ]
)

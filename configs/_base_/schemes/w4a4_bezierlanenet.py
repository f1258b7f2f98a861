# W4A4 of BezierLaneNet with 8 bits also in the two hidden layers of its head, 7 % of the weights of
# the demo model: they alone see a lane as one of a few columns, and every error in them moves it.
_base_ = './w4a8.py'
quantizer = dict(
    act=dict(bits=4),
    rules=[
        dict(role='first', weight=dict(bits=8), act=dict(bits=8), reason='first layer: 8 bit'),
        dict(role='last', weight=dict(bits=8), act=dict(bits=8), reason='head output: 8 bit'),
        dict(
            name='lane_head.hidden.*',
            weight=dict(bits=8),
            act=dict(bits=8),
            reason='control points: 8 bit',
        ),
    ],
)

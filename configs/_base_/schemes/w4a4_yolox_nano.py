# w4a8_yolox_nano with 4-bit inputs but for the layers with 8-bit weights.
_base_ = './w4a8_yolox_nano.py'
quantizer = dict(
    act=dict(bits=4),
    rules=[
        *_base_.quantizer.rules,
        dict(role='first', act=dict(bits=8), reason='first layer: 8 bit'),
        dict(role='last', act=dict(bits=8), reason='head output: 8 bit'),
        dict(
            role='depthwise',
            act=dict(bits=8, per_channel=True),
            reason='depthwise: 8 bit, scale per channel',
        ),
    ],
)

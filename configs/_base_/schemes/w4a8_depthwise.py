# W4A8 for networks with depthwise convolutions: these keep 8-bit weights, nine per channel, which
# leave nothing for errors to average over, and one input scale per channel, see int8_depthwise.
_base_ = './w4a8.py'
quantizer = dict(
    rules=[
        *_base_.quantizer.rules,
        dict(
            role='depthwise',
            weight=dict(bits=8),
            act=dict(per_channel=True),
            reason='depthwise: 8 bit, scale per channel',
        ),
    ]
)

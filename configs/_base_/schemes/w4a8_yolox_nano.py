# w4a8_depthwise, and 8-bit weights in the eight backbone layers that cost most: pointwise
# convolutions whose inputs hardly vary, so that errors of their weights add up to a shift instead
# of averaging out. Alone at 4 bits, each of them takes up to .105 of an AP of .308, any other layer
# at most .013 (tools/analysis/layer_sensitivity.py).
_base_ = './w4a8_depthwise.py'
quantizer = dict(
    rules=[
        *_base_.quantizer.rules,
        dict(
            name='backbone.stage?.0.pointwise_conv.conv',
            weight=dict(bits=8),
            act=dict(bits=8),
            reason='sensitive: 8 bit',
        ),
        dict(
            name='backbone.stage?.1.final_conv.conv',
            weight=dict(bits=8),
            act=dict(bits=8),
            reason='sensitive: 8 bit',
        ),
        dict(
            name='backbone.stage4.1.conv2.conv',
            weight=dict(bits=8),
            act=dict(bits=8),
            reason='sensitive: 8 bit',
        ),
    ]
)

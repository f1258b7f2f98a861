# W8A8 for networks with depthwise convolutions: their inputs get one scale per channel. The
# channels of a depthwise convolution never mix, so its training may leave one with a range of 0.2
# and a weight of 11 next to one with a range of 120 and a weight of 0.03; on one 8-bit scale the
# small ones vanish. An integer kernel can absorb the scales in those of the weights. NNCF places
# the same for OpenVINO on a CPU; an engine with one scale per activation tensor does not have it.
_base_ = './int8.py'
quantizer = dict(
    rules=[
        dict(role='depthwise', act=dict(per_channel=True), reason='depthwise: scale per channel')
    ]
)

# W8A8 for networks with depthwise convolutions, whose inputs get one scale per channel. Depthwise
# channels never mix, so that a channel with a range of 0.2 needs its resolution next to one with
# a range of 120, and folded BatchNorms make up for the difference in the weights. The scales move
# into those of the weights: it costs an integer kernel nothing. OpenVINO's CPU plugin runs it;
# engines with one scale per activation tensor run these layers in float (see int8.py).
_base_ = './int8.py'
quantizer = dict(
    rules=[
        dict(role='depthwise', act=dict(per_channel=True), reason='depthwise: scale per channel')
    ]
)

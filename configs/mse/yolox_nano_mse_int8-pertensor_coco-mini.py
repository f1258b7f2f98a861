# YOLOX-nano for engines with one scale per activation tensor. In one tensor, the output of the
# stem, channels range from 0.2 to 120: the depthwise convolution that takes it (0.3 % of all
# operations) stays float. No other rule of the model's policy holds.
_base_ = ['./yolox_nano_mse_int8_coco-mini.py']
ptq = dict(
    rules=[
        dict(
            name='backbone.stage1.0.depthwise_conv.conv',
            weight=None,
            act=None,
            reason='channel ranges of 0.2 to 120: float',
        )
    ]
)

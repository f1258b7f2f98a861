# As mse, with channel multipliers before depthwise convolutions (ChannelMultiplier): one scale per
# tensor then suits all their channels, in every engine.
_base_ = './mse.py'
stages = [dict(type='ChannelMultiplier'), *_base_.stages]

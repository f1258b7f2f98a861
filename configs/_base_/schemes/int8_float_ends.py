# W8A8, and float where 8 bits cost most and gain least: the first layer, the last layers of the
# heads, and layers with fewer than 16 input or output channels.
_base_ = './int8.py'
quantizer = dict(
    rules=[
        dict(role='few_channels', weight=None, act=None, reason='fewer than 16 channels: float'),
        dict(role='first', weight=None, act=None, reason='first layer: float'),
        dict(role='last', weight=None, act=None, reason='head output: float'),
    ]
)

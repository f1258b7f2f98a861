# W4A8 for LiDAR networks: first layer float (see int8_lidar.py), last layers of the heads 8 bit.
_base_ = './w4a8.py'
quantizer = dict(
    rules=[
        dict(role='first', weight=dict(bits=8), reason='first layer: 8 bit'),
        dict(role='points', weight=None, act=None, reason='first layer: raw points, float'),
        dict(role='last', weight=dict(bits=8), reason='head output: 8 bit'),
    ]
)

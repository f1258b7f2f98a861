# W4A4 for LiDAR networks: first layer float (see int8_lidar.py), last layers of the heads keep 8
# bits for weight and input.
_base_ = './w4a8_lidar.py'
quantizer = dict(
    act=dict(bits=4),
    rules=[
        dict(role='first', weight=dict(bits=8), act=dict(bits=8), reason='first layer: 8 bit'),
        dict(role='points', weight=None, act=None, reason='first layer: raw points, float'),
        dict(role='last', weight=dict(bits=8), act=dict(bits=8), reason='head output: 8 bit'),
    ],
)

# W8A8 for LiDAR networks: the first layer stays float. Its input mixes metres over the whole range
# of the sensor with centimetre offsets and reflectance; one 8-bit scale for all of them would
# move points by half a metre.
_base_ = './int8.py'
quantizer = dict(
    rules=[dict(role='points', weight=None, act=None, reason='first layer: raw points, float')]
)

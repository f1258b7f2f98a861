# W8A8 for sparse voxel encoders: every SubMConv3d and SparseConv3d is quantized. The input of the
# first one are means of raw points: metres over the whole range of the sensor next to reflectance
# and time. 16 bits keep their steps at millimetres (8 bits: half a metre); its weights have 8 bits.
_base_ = './int8.py'
quantizer = dict(
    rules=[dict(role='points', act=dict(bits=16), reason='first layer: raw points, 16-bit input')]
)

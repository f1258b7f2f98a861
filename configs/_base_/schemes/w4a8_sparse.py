# W4A8 for sparse voxel encoders: the first layer as in int8_sparse.py, the last layers of the heads
# keep 8-bit weights.
_base_ = './w4a8.py'
quantizer = dict(
    rules=[
        dict(role='first', weight=dict(bits=8), reason='first layer: 8 bit'),
        dict(
            role='points',
            weight=dict(bits=8),
            act=dict(bits=16),
            reason='first layer: raw points, 8-bit weight, 16-bit input',
        ),
        dict(role='last', weight=dict(bits=8), reason='head output: 8 bit'),
    ]
)

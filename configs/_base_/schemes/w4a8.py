# W4A8, 4-bit weights with zero point per output channel; the first layer and the last layers of
# the heads keep 8-bit weights.
_base_ = './int8.py'
quantizer = dict(
    weight=dict(bits=4, symmetric=False, signed=False, narrow=False),
    rules=[
        dict(role='first', weight=dict(bits=8), reason='first layer: 8 bit'),
        dict(role='last', weight=dict(bits=8), reason='head output: 8 bit'),
    ],
)

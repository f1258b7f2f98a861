# W4A4 of LSTR; first layer and class layer in 8 bits. The small layers that give the numbers of
# curves stay float, see int8_lstr.py.
_base_ = './w4a8.py'
quantizer = dict(
    act=dict(bits=4),
    rules=[
        dict(role='first', weight=dict(bits=8), act=dict(bits=8), reason='first layer: 8 bit'),
        dict(role='last', weight=dict(bits=8), act=dict(bits=8), reason='head output: 8 bit'),
        dict(
            name='lane_head.specific_embed.*', weight=None, act=None, reason='curve numbers: float'
        ),
        dict(name='lane_head.shared_embed.*', weight=None, act=None, reason='curve numbers: float'),
    ],
)

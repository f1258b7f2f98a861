# W8A8. Weights: signed, symmetric, narrow range, one scale per output channel. Layer inputs:
# unsigned with zero point, one scale per tensor. Head outputs are never quantized.
quantizer = dict(
    weight=dict(bits=8, symmetric=True, signed=True, narrow=True, per_channel=True),
    act=dict(bits=8, symmetric=False),
    rules=[],
)

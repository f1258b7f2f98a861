# OpenVINO on a CPU: unsigned activations (signed ones after a Concat give wrong numbers in 2026.4),
# narrow signed weights. Outputs of layers may stay float, and so may the operand of an addition
# that is computed inside of a convolution.
backend = dict(
    name='openvino',
    weight=dict(symmetric=True, signed=True, narrow=True),
    act=dict(signed=False),
    export=dict(
        engine='openvino',
        unsupported_ops=('DeformConv',),
        quantized_ops=('Add', 'AveragePool', 'GlobalAveragePool'),
        float_fused_addend=True,
        observer=dict(type='MinMaxObserver'),
    ),
)

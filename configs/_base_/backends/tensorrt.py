# TensorRT with explicit quantization, the only kind since version 11: symmetric signed scales
# throughout; residual additions quantize the identity branch alone; inputs of a concatenation
# share one scale; what stays float is typed float16, since the engine computes in the file's types.
# Layers with few channels gain nothing from integers.
backend = dict(
    name='tensorrt',
    weight=dict(symmetric=True, signed=True, narrow=True),
    act=dict(symmetric=True, signed=True),
    rules=[
        dict(role='few_channels', weight=None, act=None, reason='tensorrt: fewer than 16 channels')
    ],
    export=dict(
        engine='tensorrt',
        quantized_ops=('Add',),
        float_fused_addend=True,
        float16_remainder=True,
        observer=dict(type='MinMaxObserver'),
    ),
)

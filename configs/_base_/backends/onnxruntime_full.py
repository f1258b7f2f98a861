# As onnxruntime, with all outputs of the network and matrix products of two activations (attention)
# in 8 bits: faster where such layers take long, as in narrow networks. Boxes get 255 steps over
# their range: compare the metric.
_base_ = './onnxruntime.py'
backend = dict(
    name='onnxruntime_full',
    products=dict(bits=8),
    export=dict(float_head_channels=0, activation_matmuls=True),
)

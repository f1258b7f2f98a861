# As onnxruntime, with all outputs of the network and products of two activations (attention) in 8
# bits: faster where such layers cost much, as in narrow networks. Boxes get 255 steps over their
# range, and products are not simulated before: compare the metric.
_base_ = './onnxruntime.py'
backend = dict(name='onnxruntime_full', float_head_channels=0, activation_matmuls=True)

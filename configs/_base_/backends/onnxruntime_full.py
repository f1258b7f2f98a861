# As onnxruntime, with all outputs of the network in 8 bits: the last convolutions run in integers
# too, which pays in narrow networks. Boxes get 255 steps over their range: compare the metric.
_base_ = './onnxruntime.py'
backend = dict(name='onnxruntime_full', float_head_channels=0)

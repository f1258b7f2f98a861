# As onnxruntime, with SiLU before channel multipliers in 8 bits: a tenth slower than without
# multipliers, and less exact. Where no multiplier follows SiLU it is the same.
_base_ = './onnxruntime.py'
backend = dict(name='onnxruntime_fast', export=dict(integer_silu=True))

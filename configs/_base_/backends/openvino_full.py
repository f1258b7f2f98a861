# As openvino, with matrix products of two activations (attention) in 8 bits. The engine takes the
# right operand as it takes weights: signed, without a zero point.
_base_ = './openvino.py'
backend = dict(
    name='openvino_full',
    products=dict(bits=8, right=dict(symmetric=True, signed=True, narrow=True)),
    export=dict(activation_matmuls=True, matmul_rhs=dict(symmetric=True, signed=True, narrow=True)),
)

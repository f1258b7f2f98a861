# W3A3; the first layer and the last layers of the heads keep 8 bits for weight and input.
_base_ = './w4a4.py'
quantizer = dict(weight=dict(bits=3), act=dict(bits=3))

# The whole network at once, like network, but errors of the outputs are weighted by the squared
# gradient of the output loss. EPTQ (https://arxiv.org/abs/2309.11531) weights the errors of layers
# by a trace of the Hessian; here it is the diagonal of the Fisher information at the outputs.
_base_ = './network.py'
stages = [
    *_base_.stages[:-1],
    dict(_base_.stages[-1], importance=dict(type='FisherImportance')),
]

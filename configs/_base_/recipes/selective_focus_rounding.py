# Selective Focus (https://arxiv.org/abs/2405.06264) as its abstract and summaries have it: rounding
# of all weights and scales of all layer inputs are learned at once to give the head outputs.
# Numbers of steps and rates were not available to us.
_base_ = './network.py'
stages = [
    *_base_.stages[:-1],
    dict(_base_.stages[-1], loss=None, task_loss=dict(type='SemanticFocusLoss')),
]

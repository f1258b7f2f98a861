# Selective Focus (https://arxiv.org/abs/2405.06264) for lane detectors: rounding of all weights and
# scales of all layer inputs are learned at once. Errors of the heads count where the float model is
# confident (focus), and heads by how far their errors move lanes (selection). The paper's numbers
# of steps and rates were not available to us; see configs/selective_focus/README.md.
_base_ = './network.py'
stages = [
    *_base_.stages[:-1],
    dict(_base_.stages[-1], loss=None, task_loss=dict(type='SemanticFocusLoss')),
]

# Selective Focus without focus: all positions of a head count the same.
_base_ = './selective_focus.py'
stages = [
    *_base_.stages[:-1],
    dict(_base_.stages[-1], loss=dict(_base_.stages[-1].loss, focus=False)),
]

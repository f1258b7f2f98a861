# Selective Focus (https://arxiv.org/abs/2405.06264) for lane detectors: the whole network is
# learned at once. Errors of the heads count where the float model is confident (focus), and heads
# by how far their errors move lanes (selection). Not of the paper: weights and biases are trained
# in place of their rounding, errors of backbone and neck count as well, and every step has new
# images made of the calibration images, both against overfitting.
# selective_focus_rounding is the reading next to the paper.
_base_ = './mse.py'
stages = [
    *_base_.stages,
    dict(
        type='Distillation',
        loss=dict(type='SemanticFocusLoss', features=4.0),
        num_iters=600,
        batch_size=2,
        variants=dict(),
    ),
]

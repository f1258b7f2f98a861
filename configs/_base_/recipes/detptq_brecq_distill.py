# DetPTQ (https://arxiv.org/abs/2304.09785), followed by reconstruction: rounding is learned block
# by block with the error to the power of the p that was chosen for the block, weighted by the
# squared gradient of the output loss. Scales stay in this stage: they were chosen by what the whole
# detector gives, and learning them by a local error loses that again. The last stage reconstructs
# the network as a whole: everything is trained to give the head outputs of the float model.
_base_ = './detptq.py'
stages = [
    *_base_.stages,
    dict(
        type='Reconstructor',
        granularity='block',
        importance=dict(type='FisherImportance'),
        num_iters=500,
        batch_size=2,
        num_samples=32,
    ),
    dict(type='Distillation', num_iters=2500, batch_size=2),
]

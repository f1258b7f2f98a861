# DetPTQ (https://arxiv.org/abs/2304.09785), followed by reconstruction: rounding is learned block
# by block with the error to the power of the p that was chosen for the block, weighted by the
# squared gradient of the output loss. Scales stay: they were chosen by what the whole detector
# gives, and learning them by a local error loses that again.
_base_ = './detptq.py'
stages = [
    *_base_.stages,
    dict(
        type='Reconstructor',
        granularity='block',
        importance=dict(type='FisherImportance'),
        num_iters=500,
        batch_size=2,
    ),
]

# SGD on batches of 20 images with a warm-up of 200 iterations, then polynomial decay. The paper
# trains a VGG-16; these are the settings of the public ResNet results (pytorch-auto-drive).
_base_ = './lane_poly.py'

optim_wrapper = dict(optimizer=dict(lr=0.2))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=200),
    dict(
        type='PolyLR',
        power=0.9,
        end={{_base_.max_epochs}},
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]

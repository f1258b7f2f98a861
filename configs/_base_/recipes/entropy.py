# Layer inputs by the smallest Kullback-Leibler divergence. Not for LiDAR: on sparse tensors it
# clips the rare large values that carry geometry.
stages = [
    dict(
        type='Calibrator',
        weight_observer=dict(type='MinMaxObserver'),
        act_observer=dict(type='EntropyObserver'),
    )
]

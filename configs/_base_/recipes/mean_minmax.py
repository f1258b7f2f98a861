# Layer inputs by the mean over the batches of their smallest and largest value.
stages = [
    dict(
        type='Calibrator',
        weight_observer=dict(type='MinMaxObserver'),
        act_observer=dict(type='MeanMinMaxObserver'),
    )
]

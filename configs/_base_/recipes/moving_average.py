# Layer inputs by the moving average of the range of each batch.
stages = [
    dict(
        type='Calibrator',
        weight_observer=dict(type='MinMaxObserver'),
        act_observer=dict(type='MovingAverageObserver'),
    )
]

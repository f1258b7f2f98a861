# The whole observed range.
stages = [
    dict(
        type='Calibrator',
        weight_observer=dict(type='MinMaxObserver'),
        act_observer=dict(type='MinMaxObserver'),
    )
]

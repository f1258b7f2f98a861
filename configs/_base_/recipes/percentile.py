# Layer inputs without the 0.01 % largest values; weights by their whole range.
stages = [
    dict(
        type='Calibrator',
        weight_observer=dict(type='MinMaxObserver'),
        act_observer=dict(type='PercentileObserver', percentile=99.99),
    )
]

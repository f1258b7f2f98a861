# The range with the smallest squared error (grid search), for weights and layer inputs.
stages = [
    dict(
        type='Calibrator',
        weight_observer=dict(type='LpObserver', p=2.0),
        act_observer=dict(type='LpObserver', p=2.0),
    )
]

# The recipe that needs no choice: ranges by squared error, then a diagnosis of every layer and the
# remedies that bring the outputs close to those of the float model (AutoTuner). No labels.
stages = [
    dict(
        type='Calibrator',
        weight_observer=dict(type='LpObserver', p=2.0),
        act_observer=dict(type='LpObserver', p=2.0),
        warn=False,  # AutoTuner mends what it would warn of
    ),
    dict(type='AutoTuner'),
]

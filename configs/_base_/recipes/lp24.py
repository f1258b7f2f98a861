# The range with the smallest error to the power of 2.4, as BRECQ, QDrop and PD-Quant start from.
stages = [
    dict(
        type='Calibrator',
        weight_observer=dict(type='LpObserver', p=2.4),
        act_observer=dict(type='LpObserver', p=2.4),
    )
]

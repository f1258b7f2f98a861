"""Constant errors taken off the biases."""

from mmptq.ptq.stages.bias_correction import BiasCorrection

from .tuning import Tuning

NUM_SAMPLES = 16
# It is tried where this share of the error of the last layers is constant.
LEAST_SHIFT = 0.2


def correct_biases(tuning: Tuning) -> bool:
    """Try bias correction where errors are constant; the float model is gone where it stays.

    Returns:
        bool: Whether it stays.
    """
    ctx = tuning.ctx
    shifts = [facts.shift for facts in tuning.facts if facts.last]
    if not shifts or sum(shifts) / len(shifts) < LEAST_SHIFT:
        return False

    def change() -> list[str]:
        BiasCorrection(num_samples=NUM_SAMPLES).run(ctx)
        return [name for name, state in ctx.layers.items() if state.module.bias is not None]

    return tuning.attempt('bias correction', change)

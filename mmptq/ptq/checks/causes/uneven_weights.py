"""Input channels that are read by weights of very different size."""

from mmptq.ptq.checks.layer_facts import LayerFacts
from mmptq.quantization import FakeQuantizer

from .cause import NOTABLE, Cause

RATIO = 10.0
# Of fewer bits an error is to be expected.
LEAST_BITS = 8


def uneven_weights(facts: LayerFacts) -> Cause | None:
    """One scale per output channel leaves few levels to the weights of most input channels.

    Large weights may read a channel of zeros, or one with tiny values.
    """
    quantizer = facts.layer.weight_quantizer
    if not isinstance(quantizer, FakeQuantizer) or quantizer.scheme.bits < LEAST_BITS:
        return None
    if facts.step is None or facts.depthwise or facts.own_weight < NOTABLE:
        return None
    ratio = facts.weight_ratio
    if ratio < RATIO:
        return None
    return Cause(
        'uneven weights',
        f'the weights of one input channel are {ratio:.3g} times those of a typical one',
        'multiplier',
        ratio,
    )

"""A named cause of a layer's error, and its remedy."""

from dataclasses import dataclass

# An 8-bit layer has a relative squared error of about 1e-4; one of ten times as much has a cause.
NOTABLE = 1e-3


@dataclass(frozen=True)
class Cause:
    """Why a layer loses more than others.

    Attributes:
        kind (str): Short name, the same for all layers with this cause.
        text (str): What was found, with its numbers.
        remedy (str): What mends it: 'multiplier' (channels evened out), 'wide' (16 bits or float),
            'range' (another way to find the range) or 'source' (the layer before it).
        ratio (float): The number that the rule looked at.
    """

    kind: str
    text: str
    remedy: str
    ratio: float

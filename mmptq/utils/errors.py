"""The one exception type for input that a user can correct."""


class QuantizationError(ValueError):
    """Bad input: the message is one sentence that names the file, key or module and the fix."""

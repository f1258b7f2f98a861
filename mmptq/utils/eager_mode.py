"""Dispatch modes that leave torch's compiler alone."""

from torch.utils._python_dispatch import TorchDispatchMode


class EagerMode(TorchDispatchMode):
    """A mode whose operators run as plain Python.

    Torch hides ``__torch_dispatch__`` from its compiler, for which it imports all of it on the
    first operator and goes through it on each one. Models do not run compiled within these modes,
    see ``eager``.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

"""The state of learning one unit, kept so that a run that was killed can go on inside of it."""

from dataclasses import dataclass
from typing import Any

import torch
from mmengine.dist import get_rank
from torch import nn

from mmptq.ptq import parallel
from mmptq.ptq.resume import ResumeStore

from .unit_quantizers import UnitQuantizers

# Steps between two states.
INTERVAL = 100


@dataclass
class TrainingProgress:
    """Saves and restores what decides about the steps that are left.

    These are rounding, scales, the optimizer, the buffers of the loss on head outputs and the
    random streams of all processes, so that a resumed run gives the same bits.

    Attributes:
        store (ResumeStore): Where states are kept.
        name (str): Name of the state.
        loss (nn.Module, optional): Loss on head outputs.
        device (torch.device): Of the model.
    """

    store: ResumeStore
    name: str
    loss: nn.Module | None
    device: torch.device

    def save(self, done: int, quantizers: UnitQuantizers, optimizer: torch.optim.Optimizer) -> None:
        """Keep the state after every hundredth step.

        Args:
            done (int): Number of steps taken.
            quantizers (UnitQuantizers): While they are being learned.
            optimizer (Optimizer): Of their parameters.
        """
        if done % INTERVAL:
            return
        streams = parallel.gather(self._random_state())
        state = dict(
            done=done,
            roundings=[dict(module.state_dict()) for module in quantizers.roundings],
            scale_deltas=[x.detach() for x in quantizers.scale_deltas],
            optimizer=optimizer.state_dict(),
            loss={} if self.loss is None else dict(self.loss.state_dict()),
            streams=streams,
        )
        self.store.save(self.name, state)

    @torch.no_grad()
    def load(self, quantizers: UnitQuantizers, optimizer: torch.optim.Optimizer) -> int:
        """Go back to the last state, if there is one; the number of steps it has behind it."""
        state = self.store.load(self.name)
        if state is None or len(state['streams']) != len(parallel.gather(None)):
            return 0
        for module, saved in zip(quantizers.roundings, state['roundings'], strict=True):
            module.load_state_dict(saved)
        for delta, saved in zip(quantizers.scale_deltas, state['scale_deltas'], strict=True):
            delta.copy_(saved)
        optimizer.load_state_dict(state['optimizer'])
        if self.loss is not None:
            self.loss.load_state_dict(state['loss'])
        self._set_random_state(state['streams'][get_rank()])
        return state['done']

    def _random_state(self) -> dict[str, Any]:
        state = dict(cpu=torch.get_rng_state())
        if self.device.type == 'cuda':
            state['cuda'] = torch.cuda.get_rng_state(self.device)
        return state

    def _set_random_state(self, state: dict[str, Any]) -> None:
        torch.set_rng_state(state['cpu'])
        if 'cuda' in state:
            torch.cuda.set_rng_state(state['cuda'], self.device)

"""Which layers are most sensitive to an output in 8 bits, and which of them stay float."""

import numpy as np
from mmengine.logging import MMLogger
from torch import Tensor

from mmptq.deploy.graph.graph import Graph
from mmptq.ptq.search.sensitivity import measure_sensitivity

from .backend_pairs import BackendPairs
from .observe import open_unoptimized, runtime_errors
from .parity import SignalToNoise

SAMPLES = 2
# The pairs of a backend may leave this signal-to-noise on every output of the network, in float
# arithmetic; with much less the check in the engine would refuse the file.
LEAST_DECIBEL = 16.0


class OutputNoise:
    """Noise that the pairs of a backend leave on the outputs of the network, in float arithmetic.

    Args:
        pairs (BackendPairs): Of the graph.
        inputs (list[Tensor]): Calibration inputs of the graph; the first two are used.
    """

    def __init__(self, pairs: BackendPairs, inputs: list[Tensor]):
        self.pairs = pairs
        self._arrays = [x.detach().cpu().numpy() for x in inputs[:SAMPLES]]
        self._reference = self._outputs(pairs.placed(pairs.candidates))

    def ratios(self, float_outputs: set[str]) -> list[float]:
        """Noise over signal of each output, while these layer outputs stay float."""
        meters = [SignalToNoise() for _ in self._reference[0]]
        values = self._outputs(self.pairs.placed(float_outputs))
        for sample, changed in zip(self._reference, values, strict=True):
            for meter, expected, value in zip(meters, sample, changed, strict=True):
                meter.update(expected, value)
        return [meter.noise / max(meter.signal, 1e-30) for meter in meters]

    def by_layer(self) -> dict[str, list[float]]:
        """``ratios`` of each layer output where it alone is quantized, the largest first."""
        everything = set(self.pairs.candidates)
        found = measure_sensitivity(
            {name: {name} for name in self.pairs.candidates},
            lambda quantized: self.ratios(everything - quantized),
        )
        return dict(sorted(found.items(), key=lambda item: -sum(item[1])))

    def _outputs(self, graph: Graph) -> list[list[np.ndarray]]:
        session = open_unoptimized(graph, [])
        with runtime_errors():
            name = session.get_inputs()[0].name
            return [session.run(graph.outputs, {name: x}) for x in self._arrays]


def choose_float_outputs(pairs: BackendPairs, inputs: list[Tensor], count: int | None) -> list[str]:
    """The layer outputs that stay float, most sensitive first; the log names them.

    Args:
        pairs (BackendPairs): Of the graph.
        inputs (list[Tensor]): Calibration inputs of the graph.
        count (int, optional): How many; None takes as many as bring every output of the network
            to ``LEAST_DECIBEL``, and none where it is there already.
    """
    if count == 0 or not pairs.candidates:
        return []
    noise, most = OutputNoise(pairs, inputs), 10 ** (-LEAST_DECIBEL / 10)
    logger = MMLogger.get_current_instance()
    if count is None:
        ratio = max(noise.ratios(set()))
        if ratio <= most:
            return []
        logger.info(f'the quantizers of the backend leave {_decibel(ratio)} dB: {RANKING}')
    ranked = noise.by_layer()
    kept = list(ranked)[:count]
    if count is None:
        kept, ratio = _fewest(noise, ranked, most)
        logger.info(f'{_decibel(ratio)} dB with {len(kept)} outputs in float')
    logger.info(f'outputs kept in float, most sensitive first: {", ".join(kept)}')
    return kept


RANKING = 'looking for the layers whose output in 8 bits costs most'


def _fewest(
    noise: OutputNoise, ranked: dict[str, list[float]], most: float
) -> tuple[list[str], float]:
    """The shortest beginning of the ranking that leaves little enough noise, and that noise.

    Noise of layers adds up about, which gives the first guess; then the number grows.
    """
    names, ratios = list(ranked), np.array(list(ranked.values()))
    left = ratios.sum(0) - ratios.cumsum(0)  # (layer, output)
    count = 1 + int(np.argmax((left <= most).all(1)))
    while True:
        ratio = max(noise.ratios(set(names[:count])))
        if ratio <= most or count == len(names):
            return names[:count], ratio
        count = min(len(names), count + max(1, count // 4))


def _decibel(ratio: float) -> str:
    return f'{-10 * np.log10(max(ratio, 1e-20)):.1f}'

"""Whether the sparse engine computes the integers of the simulation, layer by layer."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmptq.quantization import QuantizationError
from mmptq.utils.hooks import temporary_hooks

from .layer import InputGrid
from .network import SparseNetwork

# Float sums of the simulation are rounded on the way: about one value in ten thousand lies so close
# to the middle of two levels that it falls to the other side.
MOST_DIFFERENT = 5e-3


@dataclass
class LayerParity:
    """Integers that follow a layer, in the engine and in the simulation.

    Attributes:
        layer (str): The layer whose output is compared.
        values (int): How many numbers.
        different (int): How many differ.
        largest (int): Largest difference in steps of the grid; of a float output in percent of
            its largest value.
    """

    layer: str
    values: int = 0
    different: int = 0
    largest: float = 0

    def update(self, difference: np.ndarray) -> None:
        """Take in differences in steps."""
        self.values += difference.size
        self.different += int(np.count_nonzero(difference))
        self.largest = max(self.largest, float(np.abs(difference).max(initial=0)))

    def row(self) -> dict[str, Any]:
        """Row of the table that is shown and stored."""
        return dict(
            layer=self.layer,
            values=self.values,
            different=self.different,
            largest=round(self.largest, 3),
        )


@contextmanager
def recorded_calls(
    encoder: nn.Module, names: dict[nn.Module, str], most: int = 2
) -> Iterator[list[dict]]:
    """Within this context the list gets an entry for each of the first calls of an encoder.

    Each holds the arguments (``features``, ``coords``, ``batch``), the ``inputs`` of the layers by
    name, as features and coordinates, and the ``output``.

    Args:
        encoder (nn.Module): Takes features, coordinates and batch size, as those of mmdet3d.
        names (dict): Its convolutions, and their names.
        most (int): Calls to record; a scan of a large network has hundreds of megabytes.
    """
    calls: list[dict] = []

    def start(_: nn.Module, args: tuple) -> None:
        if len(calls) == most:
            stack.close()
            return
        features, coords, batch = args
        calls.append(
            dict(features=_array(features), coords=_array(coords), batch=int(batch), inputs={})
        )

    def note(module: nn.Module, args: tuple) -> None:
        calls[-1]['inputs'][names[module]] = (_array(args[0].features), _array(args[0].indices))

    def finish(_module: nn.Module, _args: tuple, output: Tensor) -> None:
        calls[-1]['output'] = _array(output)

    with ExitStack() as stack:
        before = {encoder: start, **dict.fromkeys(names, note)}
        stack.enter_context(temporary_hooks(before, {encoder: finish}))
        yield calls


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()


@torch.no_grad()
def measure_layers(network: SparseNetwork, calls: list[dict]) -> list[LayerParity]:
    """Give each layer the input of the simulation and compare what comes out.

    Args:
        network (SparseNetwork): The engine.
        calls (list[dict]): From ``recorded_calls``.
    """
    layers = network.graph.layers
    results = {layer.output: LayerParity(layer.name) for layer in layers}
    for call in calls:
        network.find_neighbours(call['coords'].astype(np.int32), call['batch'])
        values = _simulated_values(network, call['inputs'])
        for number, layer in enumerate(layers):
            rows = {(layer.source, layer.grid): _rows(network, values[layer.source], layer.grid)}
            floats = dict(values)
            network.run_layer(number, rows, floats)
            readers = network.graph.readers(layer.output)
            for grid in dict.fromkeys(reader.grid for reader in readers):
                expected = _rows(network, values[layer.output], grid)
                results[layer.output].update(_steps(rows[layer.output, grid], expected, grid))
            if not readers:
                values.setdefault(layer.output, floats[layer.output])
            if layer.output == network.graph.output:
                found = network.to_dense(floats[layer.output])
                _compare_maps(results[layer.output], found, call['output'])
    return list(results.values())


def _simulated_values(network: SparseNetwork, inputs: dict) -> dict[int, np.ndarray]:
    """Float features by value, in the order of the engine's rows."""
    values = {}
    for layer in network.graph.layers:
        features, coords = inputs[layer.name]
        if coords.shape[1] == 3:
            coords = np.insert(coords, 1, 0, axis=1)
        order = np.lexsort(coords.T[::-1])
        if not np.array_equal(coords[order], network.coords(layer.source_sites)):
            raise QuantizationError(
                f"the sparse engine finds other sites than the simulation before '{layer.name}': "
                'leave the encoder in PyTorch with --sparse-in-pytorch'
            )
        values[layer.source] = np.ascontiguousarray(features[order], np.float32)
    return values


def _rows(network: SparseNetwork, value: np.ndarray, grid: InputGrid) -> np.ndarray:
    return network.kernels.quantize(value, grid)


def _steps(found: np.ndarray, expected: np.ndarray, grid: InputGrid) -> np.ndarray:
    """Difference in steps; float features differ where they differ by more than rounding."""
    if not grid.is_float:
        return found.astype(np.int64) - expected
    return relative_difference(found, expected)


def relative_difference(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Differences in percent of the largest value, where they are more than rounding explains."""
    largest = max(float(np.abs(expected).max(initial=0)), 1e-30)
    difference = 100 * (found.astype(np.float64) - expected) / largest
    return np.where(np.abs(difference) > 1e-3, difference, 0)


def _compare_maps(result: LayerParity, found: np.ndarray, expected: np.ndarray) -> None:
    result.update(relative_difference(found.reshape(expected.shape), expected))


def check_layers(results: list[LayerParity]) -> None:
    """Raise QuantizationError where a layer differs by more than rounding explains."""
    for result in results:
        share = result.different / max(result.values, 1)
        if result.largest > 1 or share > MOST_DIFFERENT:
            raise QuantizationError(
                f"the sparse engine computes '{result.layer}' differently: {result.different} of "
                f'{result.values} values, by up to {result.largest:g} steps; nothing is written: '
                'leave the encoder in PyTorch with --sparse-in-pytorch'
            )

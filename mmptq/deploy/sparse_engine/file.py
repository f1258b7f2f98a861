"""The file of a sparse encoder: an .npz without pickles, with a version."""

import hashlib
import json
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mmptq.quantization import QuantizationError
from mmptq.utils.files import complete_file
from mmptq.version import __version__

from .geometry import KernelGeometry
from .graph import SparseGraph, SparseLayer
from .layer import InputGrid
from .points import PointEncoder, PointLayer, VoxelGrid

FORMAT = 2
SUFFIX = '.sparse.npz'
HEADER = 'header'
ARRAYS = ('weight', 'scale', 'bias')
POINT_ARRAYS = ('weight', 'bias')
PLAIN = ('name', 'source', 'output', 'source_sites', 'target_sites', 'indice_key', 'residual')


def sparse_file_of(path: str | Path) -> Path:
    """The file of the sparse part that lies beside the file of the BEV network."""
    return Path(path).with_suffix(SUFFIX)


def fingerprint(graph: SparseGraph) -> str:
    """Changes with the layers and weights of an encoder."""
    layers = [_plain(layer) for layer in graph.layers]
    digest = hashlib.sha256(json.dumps([layers, _plain_points(graph.points)]).encode())
    for array in _arrays(graph).values():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def write_graph(graph: SparseGraph, path: str | Path) -> None:
    """Write a sparse encoder; the file appears when it is complete."""
    header = dict(
        format=FORMAT,
        mmptq_version=__version__,
        encoder=graph.encoder,
        shape=list(graph.shape),
        in_channels=graph.in_channels,
        metadata=graph.metadata,
        layers=[_plain(layer) for layer in graph.layers],
        points=_plain_points(graph.points),
    )
    arrays = {HEADER: np.frombuffer(json.dumps(header).encode(), np.uint8), **_arrays(graph)}
    with complete_file(path) as temporary, open(temporary, 'wb') as stream:
        np.savez(stream, **arrays)


def _arrays(graph: SparseGraph) -> dict[str, np.ndarray]:
    """Arrays of a file by name."""
    arrays = {}
    for number, layer in enumerate(graph.layers):
        arrays.update({f'{name}_{number}': getattr(layer, name) for name in ARRAYS})
    for number, layer in enumerate(graph.points.layers if graph.points else ()):
        arrays.update({f'point_{name}_{number}': getattr(layer, name) for name in POINT_ARRAYS})
    return arrays


def _plain_points(points: PointEncoder | None) -> dict[str, Any] | None:
    if points is None:
        return None
    plain = {key: value for key, value in vars(points).items() if key not in ('grid', 'layers')}
    layers = [dict(name=layer.name, grid=asdict(layer.grid)) for layer in points.layers]
    return dict(plain, grid=asdict(points.grid), layers=layers)


def _points(entry: dict[str, Any] | None, archive: Any) -> PointEncoder | None:
    if entry is None:
        return None
    grid = {k: tuple(v) if isinstance(v, list) else v for k, v in entry['grid'].items()}
    layers = [
        PointLayer(
            layer['name'],
            *(archive[f'point_{name}_{number}'] for name in POINT_ARRAYS),
            InputGrid(**layer['grid']),
        )
        for number, layer in enumerate(entry['layers'])
    ]
    plain = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
    points = PointEncoder(**{**plain, 'grid': VoxelGrid(**grid), 'layers': layers})
    if any(a.dtype != np.float32 for layer in layers for a in (layer.weight, layer.bias)):
        raise ValueError('weights of the point encoder are not float32')
    if points.problem():
        raise ValueError(points.problem())
    return points


def _plain(layer: SparseLayer) -> dict[str, Any]:
    return dict(
        {name: getattr(layer, name) for name in PLAIN},
        relu=layer.relu,
        geometry=asdict(layer.geometry),
        grid=asdict(layer.grid),
    )


def read_graph(path: str | Path) -> SparseGraph:
    """Read a file of ``write_graph``.

    Raises:
        QuantizationError: If it does not exist, is not complete, or has another format.
    """
    path = Path(path)
    if not path.is_file():
        raise QuantizationError(
            f"file '{path}' does not exist: keep the files of an export together, or export again "
            'with tools/export.py'
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            header = json.loads(archive[HEADER].tobytes())
            if header.get('format') != FORMAT:
                raise QuantizationError(
                    f"'{path}' has format {header.get('format')} of mmptq "
                    f'{header.get("mmptq_version")}, and mmptq {__version__} reads format '
                    f'{FORMAT}: export it again with tools/export.py'
                )
            return _graph(header, archive)
    except QuantizationError:  # a ValueError, too
        raise
    except (ValueError, TypeError, AttributeError, KeyError, EOFError, OSError) as error:
        raise _damaged(path, error) from error
    except (zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> QuantizationError:
    reason = ' '.join(str(error).split())[:200]
    return QuantizationError(
        f"'{path}' is damaged or no sparse encoder ({reason}): export it again with tools/export.py"
    )


def _graph(header: dict[str, Any], archive: Any) -> SparseGraph:
    layers = []
    for number, entry in enumerate(header['layers']):
        geometry = {
            key: value if key == 'kind' else tuple(value)
            for key, value in entry['geometry'].items()
        }
        layers.append(
            SparseLayer(
                **{name: entry[name] for name in PLAIN},
                **{name: archive[f'{name}_{number}'] for name in ARRAYS},
                relu=entry['relu'],
                geometry=KernelGeometry(**geometry),
                grid=InputGrid(**entry['grid']),
            )
        )
    graph = SparseGraph(
        header['encoder'],
        tuple(header['shape']),
        header['in_channels'],
        layers,
        header['metadata'],
        _points(header['points'], archive),
    )
    _check(graph)
    return graph


def _check(graph: SparseGraph) -> None:
    """Raise ValueError where arrays or numbers of values do not fit: C code trusts them."""
    channels, sites = {0: graph.in_channels}, {0: 0}
    if graph.points is not None and graph.points.channels != graph.in_channels:
        raise ValueError('the point encoder does not fit the sparse encoder')
    shapes = graph.shapes()
    for layer in graph.layers:
        out, offsets, inputs = layer.weight.shape
        dtype = np.float32 if layer.grid.is_float else np.int8
        fits = (
            layer.weight.dtype == dtype
            and offsets == layer.geometry.offsets
            and layer.scale.shape == layer.bias.shape == (out,)
            and channels[layer.source] == inputs
            and sites[layer.source] == layer.source_sites
            and layer.target_sites in shapes
        )
        if layer.residual is not None:
            fits &= channels[layer.residual] == out and sites[layer.residual] == layer.target_sites
        if not fits:
            raise ValueError(f"the arrays of layer '{layer.name}' do not fit its description")
        channels[layer.output], sites[layer.output] = out, layer.target_sites

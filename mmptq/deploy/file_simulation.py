"""A quantized detector that computes what the file of a backend will compute."""

import tempfile
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mmptq.deploy.engines import SimulationEngine, run_engine
from mmptq.ptq import parallel
from mmptq.ptq.context import PTQContext
from mmptq.ptq.inputs.model_inputs import device_of
from mmptq.quantization import QuantizationError

from .engine_check import other_size
from .engine_detector import engine_in_place
from .export import build_model, check_exportable
from .export_profile import ExportProfile
from .exported_subgraph import ExportedSubgraph, subgraph_inputs
from .metadata import add_metadata
from .parity import MIN_DECIBEL, SignalToNoise
from .query_detector import is_query_detector

SAMPLES = 16  # as many as an export takes by default
NOISE_SAMPLES = 2
# Another input size may lower the signal-to-noise by this much.
SIZE_DECIBEL = 10.0


class FileSimulation:
    """Lets a detector compute what its file for a backend computes, in float arithmetic.

    A backend quantizes more than the inputs of weighted layers: sums, pooled maps, outputs of
    layers, products of two activations; and each level of a pyramid gets scales of its own. The
    graph that an export would write holds all of that. Where none can be written, the model stays
    as it is, with quantized layer inputs only, and the log says why.

    Args:
        profile (ExportProfile): Of the backend.
    """

    def __init__(self, profile: ExportProfile):
        self.profile = profile

    def __call__(self, ctx: PTQContext) -> AbstractContextManager:
        """Within the returned context the model of a run computes what its file computes.

        Args:
            ctx (PTQContext): After the last stage; its model is a frozen detector.
        """
        if device_of(ctx.model).type != 'cpu':
            # The engine that simulates files has no kernels on a GPU.
            ctx.logger.info(
                f'what {self.profile.name} quantizes besides layer inputs is not simulated on a '
                'GPU: tools/test.py with the exported file and --engine simulation does so'
            )
            return nullcontext()
        try:
            engine = self._open(ctx)
        except QuantizationError as error:
            ctx.logger.info(f'the file for {self.profile.name} is not simulated: {error}')
            return nullcontext()
        return engine_in_place(ctx.model, engine)

    @torch.no_grad()
    def _open(self, ctx: PTQContext) -> SimulationEngine:
        """The file in float arithmetic; the log says what it quantizes and what that costs."""
        detector = ctx.model
        check_exportable(detector, ctx.plan.layers, self.profile)
        inputs = _inputs(ctx)
        dynamic = not is_query_detector(detector)
        if not dynamic:
            inputs = [x for x in inputs if x.shape == inputs[0].shape]
        model, observed = build_model(detector, self.profile, inputs, dynamic, None)
        add_metadata(model, dict(engine=self.profile.engine))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, 'model.onnx')
            onnx.save(model, file)
            engine = SimulationEngine(file, torch.get_num_threads())
        subgraph = ExportedSubgraph(detector).eval()
        noise = _noise(engine, subgraph, inputs[:NOISE_SAMPLES])
        if dynamic and _noise_of_another_size(engine, subgraph, inputs[0], noise) < (
            min(noise, MIN_DECIBEL) - SIZE_DECIBEL
        ):
            raise QuantizationError('its network computes something else for other input sizes')
        makers = {name: node.op_type for node in model.graph.node for name in node.output}
        makers.update({output.name: 'output' for output in model.graph.output})
        kinds = Counter(makers[name] for name in observed if name in makers)
        text = ', '.join(f'{count} {kind}' for kind, count in kinds.most_common()) or 'none'
        ctx.logger.info(
            f'the quantized model is evaluated as the file for {self.profile.name} computes it, in '
            f'float arithmetic. Tensors with a scale that only the file has, by the operator that '
            f'makes them: {text}. Smallest signal-to-noise of an output against the model without '
            f'these: {noise:.1f} dB'
        )
        ctx.record('simulated_file', [dict(tensor=name, **row) for name, row in observed.items()])
        return engine


def _inputs(ctx: PTQContext) -> list[Tensor]:
    with subgraph_inputs(ctx.model) as inputs:
        for data in ctx.batches('collect inputs', SAMPLES):
            ctx.predict(data)
    return parallel.gather_shards(inputs)


def _noise(engine: SimulationEngine, subgraph: nn.Module, inputs: list[Tensor]) -> float:
    """Smallest signal-to-noise of an output of a file against the model, in dB."""
    meters = [SignalToNoise() for _ in engine.output_names]
    for x in inputs:
        values = run_engine(engine, x.cpu().numpy())
        for meter, expected, value in zip(meters, subgraph(x), values, strict=True):
            meter.update(expected.cpu().numpy(), value)
    return min(meter.decibel for meter in meters)


def _noise_of_another_size(
    engine: SimulationEngine, subgraph: nn.Module, x: Tensor, noise: float
) -> float:
    """As ``_noise``; that of the samples where the model or the file takes one size only."""
    try:
        return _noise(engine, subgraph, [interpolate(x, other_size(x))])
    except Exception:  # of the model or of the engine: the size of the samples has to do
        return noise

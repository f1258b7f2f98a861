"""The stage that selects, for each layer, the exponent p of its quantization error."""

import json
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import MODELS, TASK_UTILS
from rich.progress import track

from mmptq.adapters import build_adapter
from mmptq.losses import TaskLoss
from mmptq.ptq import parallel
from mmptq.ptq.build import build_component
from mmptq.ptq.context import PTQContext
from mmptq.ptq.layer_state import LayerState
from mmptq.ptq.replay.activation_cache import ActivationCache
from mmptq.ptq.replay.replay import Replay
from mmptq.ptq.search.lp_search import SLOTS, LpSearch, SearchSettings
from mmptq.ptq.teacher.teacher_outputs import TeacherOutputs
from mmptq.quantization import FakeQuantizer, quantizers_off
from mmptq.utils.config_files import require_file
from mmptq.utils.errors import QuantizationError
from mmptq.utils.files import write_json

from .stage import ADAPTER, FLOAT_MODEL, RANGES, UNLEARNED, Stage

RESULT_NAME = 'lp_selection.json'
LOSS = dict(type='DetectionOutputLoss', confidence_weighted=True, background_weight=0.0)


@TASK_UTILS.register_module()
class LpSelector(Stage):
    """DetPTQ: selects per layer the exponent p whose Lp-optimal scales change detections least.

    Layers are processed in order of execution, first the weight, then the input. Each exponent p
    gives the scales that minimise the Lp error of a feature map. The scales are kept that bring
    the outputs of the whole detector closest to the float outputs, with earlier layers quantized
    and later ones float. The feature map of an input quantizer is that input; the one of a weight
    quantizer is the output of the layer.

    https://arxiv.org/abs/2304.09785: ``p_l = argmin_p ODOL(s_l(p))`` with
    ``s_l(p) = argmin_s |O_l - O_l(s)|_p``.

    An earlier stage has to calibrate the model: layers that the loss does not depend on keep their
    scales. The exponent selected for the weight (for the input, where the weight stays float) goes
    to ``LayerState.p``, where later stages read it. ``lp_selection.json`` in the work directory
    lists the candidates of each tensor with their losses; ``run.json`` has the choice.

    Note:
        Exponents, numbers of samples, the grid and the order of layers are our choice: the paper
        was not available to us beyond its abstract. One exponent serves all channels of a weight,
        each with its own scale.

    Args:
        loss (dict): Loss of the outputs. Defaults to ``DetectionOutputLoss`` where only positions
            count that the float or the quantized model reports, by their confidence.
        exponents (list[float]): Candidates for p; of equally good ones the first wins.
        num_samples (int): Calibration samples that are used, evenly spread. Defaults to 32.
        weight_metric (str): 'output', or 'weight' for the error of the weight itself. Defaults to
            'output'.
        search_samples (int): Samples on which the error of outputs is measured. Defaults to 4.
        num_candidates (int): Ranges that are tried for a weight by the error of the output, as
            fractions of the min-max range from 1 down to ``smallest``. Defaults to 80.
        smallest (float): The smallest fraction. Defaults to 0.21.
        tolerance (float): A loss that is smaller by less than this share is equally good. Defaults
            to 0.005.
        cache_budget (int): Bytes of memory for recorded activations. Defaults to 4 GiB.
        fast (bool): Whether the part of the model that a layer does not reach is replayed, equal
            scales are tried once, and candidates that are clearly worse or clearly not better on
            the first samples (by two standard errors of the difference) are given up. Defaults to
            True.
        selection (str, optional): The ``lp_selection.json`` of an earlier run with the same
            scheme, whose choice is taken over in place of a search. Defaults to None.

    Example:
        >>> stages = [dict(type='Calibrator'), dict(type='LpSelector', num_samples=32)]
    """

    needs = frozenset({RANGES, FLOAT_MODEL, UNLEARNED, ADAPTER})

    def __init__(
        self,
        loss: dict[str, Any] = LOSS,
        exponents: list[float] = (2.0, 2.4, 3.0, 1.5, 3.5, 4.0, 1.0, 6.0),
        num_samples: int = 32,
        weight_metric: str = 'output',
        search_samples: int = 4,
        num_candidates: int = 80,
        smallest: float = 0.21,
        tolerance: float = 0.005,
        cache_budget: int = 4 * 2**30,
        fast: bool = True,
        selection: str | None = None,
    ):
        if not exponents or min(exponents) <= 0 or weight_metric not in ('output', 'weight'):
            raise QuantizationError(
                f'LpSelector got exponents={exponents!r}, weight_metric={weight_metric!r}: use '
                "exponents > 0, and weight_metric='output' or 'weight'"
            )
        numbers = min(num_samples, search_samples, num_candidates)
        if numbers < 1 or not 0 < smallest <= 1 or not 0 <= tolerance < 1:
            raise QuantizationError(
                f'LpSelector got num_samples={num_samples!r}, search_samples={search_samples!r}, '
                f'num_candidates={num_candidates!r}, smallest={smallest!r}, '
                f'tolerance={tolerance!r}: use numbers >= 1, 0 < smallest <= 1 and '
                '0 <= tolerance < 1'
            )
        fractions = None
        if weight_metric == 'output':
            # From large to small: the larger of two equally good ranges wins.
            fractions = torch.linspace(
                1.0, smallest, num_candidates, dtype=torch.float64, device='cpu'
            )
        self.loss = build_component(loss, 'LpSelector: loss', MODELS, TaskLoss)
        self.settings = SearchSettings(list(exponents), fractions, search_samples, tolerance, fast)
        self.num_samples = num_samples
        self.cache_budget = cache_budget
        self.selection = selection

    def check(self, ctx: PTQContext) -> None:
        """Refuse a ``selection`` that does not exist."""
        if self.selection is not None:
            require_file(self.selection, 'selection')

    @torch.no_grad()
    def run(self, ctx: PTQContext) -> None:
        """Choose and set the scales of every layer that the outputs depend on."""
        if self.selection is not None:
            take_selection(ctx, Path(self.selection))
            return
        start = time.perf_counter()
        adapter = build_adapter(ctx.model)
        directory = ctx.work_dir / 'cache'
        quarter = self.cache_budget // 4
        with ActivationCache(quarter, directory) as samples, quantizers_off(ctx.model):
            for data in ctx.batches('load', self.num_samples):
                samples.append(data, exact=True)
            with TeacherOutputs(ctx.model, adapter, self.loss, samples, quarter, True) as teacher:
                tensors = self._replayed_search(ctx, teacher, 2 * quarter)
                count = len(teacher.everywhere)
        seconds = time.perf_counter() - start
        _keep(ctx, dict(seconds=seconds, num_samples=count, tensors=tensors))
        ctx.logger.info(f'selected p for {len(tensors)} tensors ({seconds:.0f} s)')

    def _replayed_search(
        self, ctx: PTQContext, teacher: TeacherOutputs, budget: int
    ) -> list[dict[str, Any]]:
        """The search on all samples that have a target."""
        search = LpSearch(self.settings, teacher)
        samples = dict(search.own)
        if 0 not in samples:
            samples[0] = len(teacher.samples)
            position = ctx.positions(self.num_samples)[teacher.everywhere[0]]
            teacher.samples.append(next(ctx.batches_at([position])), exact=True)
        samples = [samples[place] for place in search.places()]

        def run(index: int) -> Any:
            return teacher.raw_outputs(samples[index])

        directory, fast = teacher.samples.directory, self.settings.fast
        with Replay(ctx.model, run, len(samples), budget, directory, fast) as replay:
            return self._search(ctx, search, replay)

    def _search(self, ctx: PTQContext, search: LpSearch, replay: Replay) -> list[dict[str, Any]]:
        units = [ctx.layers[plan.name] for plan in ctx.plan.layers if plan.name in ctx.layers]
        tensors = []
        for index, unit in enumerate(track(units, 'select p', disable=not parallel.is_main())):
            found = ctx.resume and ctx.resume.load(unit.name)
            if found is None:
                pending = {later.module for later in units[index:]}
                found = search.layer(replay, unit, pending)
                if ctx.resume:
                    ctx.resume.save(unit.name, found)
            else:
                restore(unit, found)
            tensors += [dict(name=unit.name, tensor=name, **e) for name, e in found.items()]
        return tensors


def take_selection(ctx: PTQContext, path: Path) -> None:
    """Set the exponents and scales that an earlier run chose, and keep its result beside others.

    Raises:
        QuantizationError: If the file cannot be read, or belongs to another model or scheme.
    """
    try:
        content = json.loads(path.read_text())
        found: dict[str, dict[str, Any]] = {}
        for entry in content['tensors']:
            name, tensor = entry['name'], entry['tensor']
            keys = ('p', 'scale', 'zero_point')
            found.setdefault(name, {})[tensor] = {key: entry[key] for key in keys}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise QuantizationError(
            f"selection '{path}' cannot be read ({type(error).__name__}: {error}): name the "
            f'{RESULT_NAME} of a finished run of LpSelector'
        ) from error
    for name, entries in found.items():
        unit = ctx.layers.get(name)
        for tensor, entry in entries.items():
            quantizer = getattr(unit and unit.module, SLOTS.get(tensor, ''), None)
            sizes = len(entry['scale']), len(entry['zero_point'])
            if not isinstance(quantizer, FakeQuantizer) or {*sizes} != {quantizer.scale.numel()}:
                raise QuantizationError(
                    f"selection '{path}' does not fit the {tensor} of '{name}': use one of the "
                    'same model and scheme'
                )
    for name, entries in found.items():
        restore(ctx.layers[name], entries)
    _keep(ctx, content)
    ctx.logger.info(f"loaded p of {len(content['tensors'])} tensors from '{path}'")


def _keep(ctx: PTQContext, content: dict[str, Any]) -> None:
    """Write the file that ``selection`` takes, and record the choice without its candidates."""
    if parallel.is_main():
        write_json(content, ctx.work_dir / RESULT_NAME)
    keys = ('name', 'tensor', 'p', 'loss')
    rows = [{key: entry.get(key) for key in keys} for entry in content['tensors']]
    ctx.record('lp_selection', rows)


def restore(unit: LayerState, found: dict[str, Any]) -> None:
    """Bring a layer into the state that an earlier run left it in."""
    for name, entry in found.items():
        quantizer = getattr(unit.module, SLOTS[name])
        quantizer.set_qparams(
            quantizer.scale.new_tensor(entry['scale']),
            quantizer.zero_point.new_tensor(entry['zero_point']),
        )
        quantizer.enabled = True
    if found:
        unit.p = next(entry['p'] for entry in found.values())

"""What the processes of tests/test_ptq/test_parallel.py do, each of them or one alone."""

import copy
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.dist import get_rank
from mmengine.registry import MODELS
from reconstruction import ToyDetector, images
from torch import nn

import mmptq
from mmptq.losses import TaskLoss
from mmptq.ptq import Stage, parallel
from mmptq.quantization import QuantizationError

OUTPUT_LOSS = dict(type='DetectionOutputLoss', score_thr=0.0)
LP = dict(type='LpObserver')
ENTROPY = dict(type='EntropyObserver')
PERCENTILE = dict(type='PercentileObserver')
MSE = dict(type='Calibrator', weight_observer=LP, act_observer=LP)
STEPS = dict(num_iters=6, batch_size=2)


@MODELS.register_module(force=True)
class TellingLoss(TaskLoss):
    """Counts what ``after_step`` tells it in a buffer; not finite in the second process."""

    needs_target = False

    def __init__(self, broken: bool = False):
        super().__init__()
        self.broken = broken
        self.register_buffer('told', torch.zeros(()))

    def forward(self, adapter, raw, data, target):
        loss = sum(output.scores.square().mean() for output in adapter.outputs(raw))
        return loss * float('nan') if self.broken and self.training and get_rank() == 1 else loss

    def after_step(self, step, losses):
        self.told += losses['loss']


class OwnSamples(Stage):
    """A stage that forgets the other processes."""

    def run(self, ctx):
        (first, *_) = ctx.batches('look')
        next(iter(ctx.layers.values())).module.bias.data.add_(first['inputs'].mean())


def learned(**options) -> dict:
    return dict(type='Reconstructor', granularity='block', **STEPS, **options)


EXACT = dict(
    minmax=[dict(type='Calibrator')],
    mse=[MSE],
    entropy=[dict(type='Calibrator', act_observer=ENTROPY)],
    percentile=[dict(type='Calibrator', act_observer=PERCENTILE)],
    detptq=[
        MSE,
        dict(
            type='LpSelector',
            loss=OUTPUT_LOSS,
            exponents=[2.0, 1.0, 4.0],
            num_candidates=8,
            search_samples=2,
        ),
    ],
)
CLOSE = dict(
    moving_average=[dict(type='Calibrator', act_observer=dict(type='MovingAverageObserver'))],
    mean_minmax=[dict(type='Calibrator', act_observer=dict(type='MeanMinMaxObserver'))],
    equalization=[dict(type='CrossLayerEqualization'), MSE],
    bias=[MSE, dict(type='BiasCorrection', num_samples=5)],
)
INLIERS = dict(type='InlierImportance', loss=dict(type='TopKConfidenceLoss', k=2, score_thr=0.0))
REFINER = dict(type='ScaleRefiner', num_iters=4, num_positions=1000)
# Everything that was recorded counts in both, so that only sums differ.
CLOSE |= {
    f'inlierq_{scope}': [
        dict(type='Calibrator', weight_observer=LP),
        dict(REFINER, importance=dict(INLIERS, em_scope=scope)),
    ]
    for scope in ('sample', 'layer')
}
LEARNED = dict(
    inlierq_recon=[MSE, dict(REFINER, importance=INLIERS), learned(importance=INLIERS)],
    brecq=[MSE, learned(importance=dict(type='FisherImportance', loss=OUTPUT_LOSS))],
    qdrop=[MSE, learned(act_lr=1e-2, drop_prob=0.5, task_loss=OUTPUT_LOSS)],
    distill=[MSE, dict(type='Distillation', loss=OUTPUT_LOSS, lr=1e-3, **STEPS)],
    one_sample=[MSE, learned(num_samples=1, task_loss=OUTPUT_LOSS)],
    one_per_step=[MSE, dict(learned(), batch_size=1)],
    few=[
        MSE,
        dict(type='LpSelector', loss=OUTPUT_LOSS, exponents=[2.0, 1.0], num_samples=1),
        dict(type='BiasCorrection', num_samples=1),
    ],
    telling=[MSE, learned(loss=None, task_loss=dict(type='TellingLoss'))],
    broken=[MSE, learned(task_loss=dict(type='TellingLoss', broken=True))],
)
SCHEME = dict(weight=dict(bits=4, symmetric=False, per_channel=True), act=dict(bits=4), rules=[])


def detector() -> nn.Module:
    torch.manual_seed(1)
    return ToyDetector().eval()


def batches(seed: int = 0) -> list[dict]:
    return [dict(inputs=x) for x in images(7, seed=seed)]


def quantized(recipe: list) -> dict[str, torch.Tensor]:
    """State of the toy detector after a recipe."""
    model = mmptq.quantize(detector(), batches(), SCHEME, copy.deepcopy(recipe))
    return {name: x.clone() for name, x in model.state_dict().items()}


def refusal(function) -> str:
    try:
        function()
    except QuantizationError as error:
        return str(error)
    return ''


def messages() -> dict:
    """What the functions of ``mmptq.ptq.parallel`` give in this process."""
    rank = get_rank()
    total, parameters = torch.tensor([1.0, 10.0 * rank]), [nn.Parameter(torch.zeros(2)), None]
    parameters[1] = nn.Parameter(torch.zeros(1))
    parameters[0].grad = torch.tensor([2.0, 4.0 * rank])
    parameters[1].grad = torch.tensor([6.0]) if rank else None
    parallel.sum_(total)

    def fail():
        raise QuantizationError('the file is gone: mend it')

    return dict(
        shard=parallel.shard(list('abcde')),
        indices=parallel.shard_indices([0, 1]),
        whole=parallel.gather_shards(parallel.shard(list('abcde'))),
        others=parallel.from_others(lambda: f'of {rank}'),
        tensors=[x['x'].tolist() for x in parallel.gather(dict(x=torch.tensor([rank])))],
        work=parallel.fair_shares([1, 6, 1, 3, 1]),
        agree=[parallel.agree(True), parallel.agree(rank == 0)],
        total=total.tolist(),
        values=parallel.mean_gradients(parameters, [rank]),
        gradients=[x.grad.tolist() for x in parameters],
        from_main=parallel.on_main(lambda: f'rank {rank}'),
        failure=refusal(lambda: parallel.on_main(fail)),
        same=refusal(lambda: parallel.check_same([1, torch.ones(2)], 'numbers')),
        different=refusal(lambda: parallel.check_same(rank, 'numbers')),
        own_stage=refusal(lambda: quantized([MSE, OwnSamples()])),
        own_batches=refusal(lambda: mmptq.quantize(detector(), batches(rank), SCHEME)),
    )


def work(rank: int, folder: Path) -> None:
    """Everything, in one of two processes; results go to a file."""
    torch.set_num_threads(1)
    store = f'file://{folder}/store'
    dist.init_process_group('gloo', init_method=store, rank=rank, world_size=2)
    results = dict(messages=messages())
    for name, recipe in {**EXACT, **CLOSE, **LEARNED}.items():
        results[name] = quantized(recipe)
    torch.save(results, folder / f'{rank}.pth')
    dist.destroy_process_group()

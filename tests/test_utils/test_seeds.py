import torch

from mmptq.utils.seeds import STRIDE, stream_seed


def test_runs_share_no_stream():
    seeds = {stream_seed(seed, index) for seed in range(50) for index in range(2000)}
    assert len(seeds) == 50 * 2000


def test_processes_share_no_stream():
    starts = [
        (stream_seed(seed, 0) + rank * STRIDE**2) % 2**32
        for seed in range(50)
        for rank in range(16)
    ]
    starts.sort()
    gaps = [after - before for before, after in zip(starts, starts[1:], strict=False)]
    assert min(gaps) > 10_000  # steps of a run, units


def test_streams_of_two_seeds_differ_in_their_numbers():
    """torch's CPU generator reads only the lower 32 bits of a seed."""
    first = torch.randperm(64, generator=torch.Generator().manual_seed(stream_seed(0, 1)))
    second = torch.randperm(64, generator=torch.Generator().manual_seed(stream_seed(1, 0)))
    assert not torch.equal(first, second)


def test_seed_zero():
    assert [stream_seed(0, index) for index in range(3)] == [0, 1, 2]

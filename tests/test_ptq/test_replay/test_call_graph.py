"""The graph of calls: what needs what, checked by hand on small networks."""

import torch
from branching_net import BranchingNet
from torch import nn

from mmptq.ptq.replay.graph_trace import trace_graph


def trace(model, *inputs):
    graph, shapes = trace_graph(model.eval(), lambda: model(*inputs))
    names = {module: name for name, module in model.named_modules()}
    labels = [f'{names[call.key[0]]}#{call.key[1]}' for call in graph.calls]
    return graph, labels, shapes


def named(labels, calls):
    return {labels[i] for i in calls}


class Chain(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(2, 2) for _ in range(3))

    def forward(self, x):
        y = self.b(torch.relu(self.a(x)))
        return self.c(y) + y


def test_calls_are_nested_and_in_order():
    graph, labels, shapes = trace(BranchingNet(), torch.rand(1, 3, 4, 4))
    expected = ['#0', 'stem#0', 'stem.0#0', 'stem.1#0', 'right#0', 'right.0#0', 'right.1#0']
    expected += ['left#0', 'relu#0', 'gate#0', 'head#0', 'down#0', 'head#1']
    assert labels == expected
    assert named(labels, graph.calls[2].parents) == {'#0', 'stem#0'}
    assert all(call.plain for call in graph.calls)
    assert shapes[labels.index('head#1')][1] == (
        ((1, 4, 2, 2), torch.float32, torch.device('cpu')),
    )
    assert graph.inside(labels.index('right#0')).total() == 2


def test_unaffected_calls_do_not_read_what_changes():
    model = BranchingNet()
    graph, labels, _ = trace(model, torch.rand(1, 3, 4, 4))
    free = named(labels, graph.unaffected({model.right}))
    # The gate reads the stem, and so does the second level of the head.
    assert free == {'stem#0', 'stem.0#0', 'stem.1#0', 'left#0', 'gate#0', 'down#0', 'head#1'}


def test_a_number_that_leaves_the_tensors_may_change_everything_after_it():
    class Counting(Chain):
        def forward(self, x):
            y = self.a(x)
            return self.b(x) if y.max().item() > 100 else self.c(x)

    model = Counting()
    graph, labels, _ = trace(model, torch.rand(1, 2))
    assert named(labels, graph.unaffected({model.a})) == set()


def test_needed_stops_at_skipped_calls():
    model = Chain()
    graph, labels, _ = trace(model, torch.rand(1, 2))
    a, b, c = (graph.calls[labels.index(f'{name}#0')] for name in 'abc')
    events = len(graph.events)
    everything = graph.needed(c.outputs, set(), events, events)
    assert b.outputs <= everything and a.outputs <= everything
    cut = graph.needed(c.outputs, {labels.index('b#0')}, events, events)
    assert b.outputs <= cut and a.outputs.isdisjoint(cut)


def test_an_argument_changed_in_place_is_seen():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.make, self.change = nn.Linear(2, 2), nn.ReLU(inplace=True)

        def forward(self, x):
            y = self.make(x)
            self.change(y)
            return y * 2

    graph, labels, _ = trace(InPlace(), torch.randn(1, 2))
    make, change = (labels.index(f'{name}#0') for name in ('make', 'change'))
    needed = graph.needed((), {make, change}, 0, len(graph.events))
    # What was made is read after the change only.
    assert needed.isdisjoint(graph.calls[make].outputs)
    assert not needed.isdisjoint(graph.calls[change].outputs)


def test_same_calls():
    class Twice(Chain):
        def forward(self, x, times=1):
            for _ in range(times):
                x = self.a(x)
            return x

    model = Twice()
    graphs = [trace(model, torch.rand(1, 2), times)[0] for times in (1, 1, 2)]
    assert graphs[0].same_calls(graphs[1]) and not graphs[0].same_calls(graphs[2])

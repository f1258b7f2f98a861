"""A pretended GPU that computes: tensors with real values that say they are on 'cuda:0'.

``FakeTensorMode`` finds mixed devices, but its tensors have no values, so that nothing that looks
at a value can run. Here every tensor on the pretended GPU wraps one on the CPU. An operator that
mixes both kinds raises as it does on a GPU; everything else computes on the CPU, and so gives the
same bits as a run on the CPU.

    with simulated_cuda():
        model.to('cuda')

Not simulated: memory, streams, kernels of a GPU and their rounding. In a backward pass mixed
devices do not raise.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from unittest import mock

import torch
from simulated_tensor import (
    CUDA,
    MixedDevicesError,
    SimulatedTensor,
    ToCpu,
    ToCuda,
    is_tensor,
    unwrap,
    wrap,
)
from torch.utils._pytree import tree_flatten, tree_map

# Functions that make a tensor where ``device`` says.
NAMES = """
arange as_tensor asarray empty empty_like empty_strided eye full full_like linspace logspace
normal ones ones_like rand rand_like randint randint_like randn randn_like randperm range
scalar_tensor tensor tril_indices triu_indices zeros zeros_like
"""
FACTORIES = NAMES.split()
METHODS = ('new_empty', 'new_full', 'new_ones', 'new_tensor', 'new_zeros')
# Functions that read memory; they are given the wrapped tensors.
SPARSE = 'get_indice_pairs indice_conv indice_conv_backward indice_maxpool indice_maxpool_backward'
EXTENSIONS = {'mmcv._ext': None, 'spconv.pytorch.ops': SPARSE.split()}
# They take settings as tensors on the CPU.
MIXED = ('hard_voxelize_forward', 'dynamic_voxelize_forward')


def _is_cuda(device: Any) -> bool:
    if device is None:
        return False
    return device == 0 if isinstance(device, int) else torch.device(device).type == 'cuda'


def _factory(function: Callable) -> Callable:
    """Takes ``device='cuda'``."""

    def make(*args, **kwargs):
        if function.__name__ in ('as_tensor', 'asarray') and is_tensor(args[0]):
            kwargs = {key: value for key, value in kwargs.items() if value is not None}
            return args[0].to(**kwargs) if kwargs else args[0]  # gradients flow through
        device = kwargs.pop('device', None)
        if device is None:
            return function(*args, **kwargs)
        grad = kwargs.pop('requires_grad', False)
        out = function(*tree_map(unwrap, args), **kwargs, device='cpu')
        out = SimulatedTensor(out.detach()) if _is_cuda(device) else out
        return out.requires_grad_() if grad else out

    return make


def _new(name: str) -> Callable:
    """``x.new_zeros`` and the like, on the device of x unless it is told another one."""
    function = getattr(torch.Tensor, name)

    def make(self, *args, device=None, requires_grad=False, **kwargs):
        cuda = isinstance(self, SimulatedTensor) if device is None else _is_cuda(device)
        out = function(unwrap(self).detach(), *tree_map(unwrap, args), **kwargs)
        out = SimulatedTensor(out) if cuda else out
        return out.requires_grad_() if requires_grad else out

    return make


def _to(function: Callable) -> Callable:
    """``x.to``: device, type, other tensor."""

    def to(self, *args, **kwargs):
        other = kwargs.pop('other', None)
        if args and is_tensor(args[0]):
            other, args = args[0], args[1:]
        if other is not None:
            device, dtype = other.device, other.dtype
            rest = dict(zip(('non_blocking', 'copy'), args, strict=False), **kwargs)
        else:
            device, dtype = kwargs.pop('device', None), kwargs.pop('dtype', None)
            args = list(args)
            if args and not isinstance(args[0], torch.dtype):
                device = args.pop(0)
            if args and (args[0] is None or isinstance(args[0], torch.dtype)):
                dtype = args.pop(0)
            rest = dict(zip(('non_blocking', 'copy'), args, strict=False), **kwargs)
        rest.pop('non_blocking', None)
        cuda = isinstance(self, SimulatedTensor)
        result = self
        if device is not None and cuda != _is_cuda(device):
            result = (ToCpu if cuda else ToCuda).apply(self)
            rest.pop('copy', None)
        if dtype is not None or rest:
            result = function(result, dtype=dtype or result.dtype, **rest)
        return result

    return to


def _outside_of_torch(function: Callable) -> Callable:
    """A function of a C extension, given the tensors that are wrapped."""

    def call(*args, **kwargs):
        tensors = [x for x in tree_flatten((args, kwargs))[0] if is_tensor(x) and x.dim()]
        simulated = [isinstance(x, SimulatedTensor) for x in tensors]
        if any(simulated) and not all(simulated) and function.__name__ not in MIXED:
            raise MixedDevicesError(f'{function.__name__} got tensors on cuda:0 and on the CPU')
        result = function(*tree_map(unwrap, args), **tree_map(unwrap, kwargs))
        return tree_map(wrap, result) if any(simulated) else result

    return call


def _differentiable(function: Callable) -> Callable:
    """A function that runs on the CPU, between two moves that gradients pass through."""

    def call(*args, **kwargs):
        flat = [x for x in tree_flatten((args, kwargs))[0] if is_tensor(x)]
        if not any(isinstance(x, SimulatedTensor) for x in flat):
            return function(*args, **kwargs)
        if not all(isinstance(x, SimulatedTensor) for x in flat):
            raise MixedDevicesError(f'{function.__name__} got tensors on cuda:0 and on the CPU')

        def down(x: Any) -> Any:
            return ToCpu.apply(x) if is_tensor(x) else x

        return ToCuda.apply(function(*tree_map(down, args), **tree_map(down, kwargs)))

    return call


def _keeps_tensors(function: Callable) -> Callable:
    """mmdet3d's ``ArrayConverter.convert``, which copies what is of a subclass of a tensor."""

    def convert(self, input_array, target_type=None, target_array=None):
        wanted = target_type is torch.Tensor or is_tensor(target_array)
        if wanted and isinstance(input_array, SimulatedTensor):
            return input_array
        return function(self, input_array, target_type, target_array)

    return convert


def _module_apply(function: Callable) -> Callable:
    """Moves a module; parameters of several owners stay shared."""

    def apply(self, fn, recurse=True):
        owners: dict[int, list[tuple[torch.nn.Module, str]]] = {}
        for module in self.modules():
            for name, x in module._parameters.items():
                if x is None:
                    continue
                owners.setdefault(id(x), []).append((module, name))
        keep = [x for module in self.modules() for x in module._parameters.values()]
        result = function(self, fn, recurse)
        for (first, first_name), *others in owners.values():
            for module, name in others:
                module._parameters[name] = first._parameters[first_name]
        del keep
        return result

    return apply


@contextmanager
def simulated_cuda() -> Iterator[torch.device]:
    """Within this context ``'cuda'`` is the pretended GPU."""
    import importlib

    with ExitStack() as stack:

        def patch(owner: Any, name: str, value: Any) -> None:
            stack.enter_context(mock.patch.object(owner, name, value))

        for name in FACTORIES:
            patch(torch, name, _factory(getattr(torch, name)))
        for name in METHODS:
            patch(torch.Tensor, name, _new(name))
        patch(torch.Tensor, 'to', _to(torch.Tensor.to))
        patch(torch.Tensor, 'cuda', lambda self, *_, **__: self.to(CUDA))
        patch(torch.nn.Module, '_apply', _module_apply(torch.nn.Module._apply))
        patch(torch.__future__, 'get_overwrite_module_params_on_conversion', lambda: True)
        patch(torch.cuda, 'get_rng_state', lambda *_: torch.get_rng_state())
        patch(torch.cuda, 'set_rng_state', lambda *_: None)
        patch(torch.cuda, 'default_generators', (mock.Mock(),))
        patch(torch.cuda, 'get_device_name', lambda *_: 'pretended GPU')
        # They make tensors in C++, where the pretended GPU is the CPU.
        functional = torch.nn.functional
        patch(functional, 'one_hot', _differentiable(functional.one_hot))
        patch(torch._C._nn, 'pad_sequence', _differentiable(torch._C._nn.pad_sequence))
        with suppress(ImportError):
            converter = importlib.import_module('mmdet3d.utils.array_converter').ArrayConverter
            patch(converter, 'convert', _keeps_tensors(converter.convert))
        for name, keys in EXTENSIONS.items():
            try:
                module = importlib.import_module(name)
            except ImportError:
                continue
            for key, function in vars(module).copy().items():
                wanted = key in keys if keys else not isinstance(function, type)
                if wanted and callable(function):
                    patch(module, key, _outside_of_torch(function))
        yield CUDA

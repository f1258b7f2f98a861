"""The tensors of the pretended GPU, see ``simulated_cuda.py``."""

from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_map

CUDA = torch.device('cuda', 0)
# Operators that take tensors of two devices.
TRANSFERS = ('aten.copy_', 'aten._to_copy')
INDEXING = ('aten.index', 'aten.index_put', 'aten.index_put_', 'aten._index_put_impl_')


class MixedDevicesError(RuntimeError):
    """An operator got tensors of several devices."""


class SimulatedTensor(torch.Tensor):
    """A tensor on the pretended GPU.

    Attributes:
        inner (Tensor): Its values, on the CPU.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: torch.Tensor, requires_grad: bool = False):
        result = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=inner.device,
            requires_grad=requires_grad,
        )
        result.inner = inner
        return result

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    def get_device(self) -> int:
        return 0

    def __repr__(self, **_) -> str:
        return f'{self.inner!r} on {CUDA}'

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(self.inner, spec)

    def __deepcopy__(self, memo: dict) -> 'SimulatedTensor':
        if id(self) not in memo:
            copy = SimulatedTensor(self.inner.clone(), self.requires_grad)
            copy.__dict__.update({k: v for k, v in self.__dict__.items() if k != 'inner'})
            memo[id(self)] = copy
        return memo[id(self)]

    def __reduce_ex__(self, protocol: int) -> Any:
        # As a file that was loaded with map_location='cpu'.
        if getattr(self, '_is_param', False):
            return torch.nn.Parameter(self.inner, self.requires_grad).__reduce_ex__(protocol)
        return self.inner.__reduce_ex__(protocol)

    def numpy(self, *_, **__):
        raise TypeError(
            "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor "
            'to host memory first.'
        )

    __array__ = numpy

    def tolist(self) -> Any:
        return self.inner.tolist()

    def data_ptr(self) -> int:
        return self.inner.data_ptr()

    def untyped_storage(self):
        return self.inner.untyped_storage()

    def cpu(self, *_, **__) -> torch.Tensor:
        return ToCpu.apply(self)

    def cuda(self, *_, **__) -> torch.Tensor:
        return self

    @property
    def data(self) -> torch.Tensor:
        return self.detach()

    @data.setter
    def data(self, value: torch.Tensor) -> None:
        if not isinstance(value, SimulatedTensor):
            raise MixedDevicesError('data of a tensor on cuda:0 is set to one on the CPU')
        torch.Tensor.data.__set__(self, value)
        self.inner = value.inner

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        # Autograd makes zeros in C++, where the pretended GPU is the CPU: no check in a backward.
        if torch._C._current_graph_task_id() < 0:
            _check_devices(func, args, kwargs)
            _check_out(func, args, kwargs)
        result = func(*tree_map(unwrap, args), **tree_map(unwrap, kwargs))
        name = str(func).split('.')[1]
        if name.endswith('_') and not name.startswith('__'):
            _check_shape(func, args[0])
            return args[0]
        if 'out' in kwargs:
            return kwargs['out']
        if func is torch.ops.aten._pin_memory.default:
            return result
        return tree_map(wrap, result)


class ToCpu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.inner.clone()

    @staticmethod
    def backward(ctx, grad):
        return SimulatedTensor(grad)


class ToCuda(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return SimulatedTensor(x.clone())

    @staticmethod
    def backward(ctx, grad):
        return grad.inner


def unwrap(x: Any) -> Any:
    return x.inner if isinstance(x, SimulatedTensor) else x


def wrap(x: Any) -> Any:
    plain = isinstance(x, torch.Tensor) and not isinstance(x, SimulatedTensor)
    return SimulatedTensor(x) if plain else x


def _check_devices(func: Any, args: tuple, kwargs: dict) -> None:
    name = '.'.join(str(func).split('.')[:2])
    if name in TRANSFERS:
        return
    if name in INDEXING:  # a GPU takes indices on the CPU, but not the other way round
        others = [x for x in tree_flatten((args[0], args[2:], kwargs))[0] if is_tensor(x)]
        first = args[0]
        if not isinstance(first, SimulatedTensor):
            raise MixedDevicesError(f'{name}: indices on cuda:0 for a tensor on the CPU')
        strangers = [x for x in others if not isinstance(x, SimulatedTensor) and x.dim()]
    else:
        tensors = [x for x in tree_flatten((args, kwargs))[0] if is_tensor(x)]
        scalars = torch.Tag.pointwise in func.tags or name == 'aten.fill_'
        strangers = [
            x
            for x in tensors
            if not isinstance(x, SimulatedTensor) and not (scalars and not x.dim())
        ]
        target = tensors[0] if name.endswith('_') else None
        if target is not None and not isinstance(target, SimulatedTensor):
            strangers = [target]
    if strangers:
        raise MixedDevicesError(
            f'{name}: expected all tensors to be on the same device, but found cuda:0 and cpu '
            f'{[tuple(x.shape) for x in strangers]}'
        )


def _check_out(func: Any, args: tuple, kwargs: dict) -> None:
    out = kwargs.get('out')
    if is_tensor(out) and not isinstance(out, SimulatedTensor):
        raise MixedDevicesError(f'{func}: out is on the CPU')


def _check_shape(func: Any, x: SimulatedTensor) -> None:
    if not isinstance(x, SimulatedTensor):
        return
    if x.shape != x.inner.shape or x.stride() != x.inner.stride():
        raise AssertionError(f'{func} changes a shape in place, which is not simulated')


def is_tensor(x: Any) -> bool:
    return isinstance(x, torch.Tensor)

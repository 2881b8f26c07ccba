"""As much of PyTorch as scripts/bench_vs_torch.py asks for: modules have parameters with shapes, and compute nothing."""
import contextlib
import math
import os
import types

__version__ = "2.11.0+stand.in"
bfloat16, float16 = "bfloat16", "float16"


class Parameter:
    def __init__(self, *shape):
        self.shape = shape

    def dim(self):
        return len(self.shape)

    def numel(self):
        return math.prod(self.shape)


class Module:
    def children(self):
        return [(name, child) for name, child in vars(self).items() if isinstance(child, (Module, Parameter))]

    def named_parameters(self):
        for name, child in self.children():
            if isinstance(child, Parameter):
                yield name, child
            else:
                for below, parameter in child.named_parameters():
                    yield f"{name}.{below}", parameter

    def parameters(self):
        return (parameter for _, parameter in self.named_parameters())

    def to(self, _, memory_format=None):
        return self

    def __call__(self, *_):
        return Loss()


class LayerNorm(Module):
    def __init__(self, width, eps=1e-5):
        self.weight, self.bias = Parameter(width), Parameter(width)


BatchNorm2d = LayerNorm


class Conv2d(Module):
    def __init__(self, inputs, outputs, size, stride=1, padding=0, bias=True):
        assert not bias
        self.weight = Parameter(outputs, inputs, size, size)


class Linear(Module):
    def __init__(self, inputs, outputs):
        self.weight, self.bias = Parameter(outputs, inputs), Parameter(outputs)


class Embedding(Module):
    def __init__(self, rows, width):
        self.num_embeddings, self.weight = rows, Parameter(rows, width)


class ModuleList(Module):
    def __init__(self, modules):
        self.modules = list(modules)

    def children(self):
        return [(str(i), module) for i, module in enumerate(self.modules)]


class Sequential(ModuleList):
    def __init__(self, *modules):
        super().__init__(modules)


class Loss:
    def backward(self):
        pass

    def detach(self):
        return self

    def item(self):
        return 5.5


class Tensor:
    """Tokens, pixels, masks: whatever is done with it gives another."""
    shape = ()

    def same(self, *_, **__):
        return self

    __add__ = __mul__ = __mod__ = __lt__ = argsort = masked_fill = contiguous = same

    def __invert__(self):
        return self


class AdamW:
    def __init__(self, groups, **_):
        self.groups = groups

    def zero_grad(self, set_to_none):
        assert set_to_none

    def step(self):
        pass


class GradScaler:
    def __init__(self, *_, **__):
        pass

    def scale(self, loss):
        return loss

    def unscale_(self, optimizer):
        pass

    def step(self, optimizer):
        optimizer.step()

    def update(self):
        pass


class Event:
    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        pass

    def synchronize(self):
        pass

    def elapsed_time(self, _):
        return 1.0


def nothing(*_, **__):
    pass


def autocast(*_, **__):
    return contextlib.nullcontext()


def rand(*_, **__):
    return Tensor()


randint = randn = rand


def no_compiler(*_):
    raise RuntimeError("backend='inductor' raised:\nRuntimeError: Failed to find C compiler. Please specify via CC environment variable.")


def compile(model):  # pylint: disable=redefined-builtin
    """As the real one, it compiles at the first call. DDP_STAND_IN_NO_COMPILER: what it needs for that is not there."""
    return no_compiler if os.environ.get("DDP_STAND_IN_NO_COMPILER") else model


def get_num_threads():
    return 1


manual_seed = set_float32_matmul_precision = nothing
zeros = Parameter
channels_last = None
nn = types.SimpleNamespace(Module=Module, LayerNorm=LayerNorm, Linear=Linear, Embedding=Embedding, ModuleList=ModuleList, functional=None,
                           BatchNorm2d=BatchNorm2d, Conv2d=Conv2d, Sequential=Sequential, Parameter=lambda parameter: parameter,
                           init=types.SimpleNamespace(normal_=nothing, zeros_=nothing),
                           utils=types.SimpleNamespace(clip_grad_norm_=nothing))
optim = types.SimpleNamespace(AdamW=AdamW, SGD=AdamW)
amp = types.SimpleNamespace(GradScaler=GradScaler)
cuda = types.SimpleNamespace(Event=Event, empty_cache=nothing, is_available=lambda: True)

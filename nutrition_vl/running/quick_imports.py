"""Imports for one run of the command in less time: modules that it never uses get stand-ins.

transformers, PEFT, bitsandbytes and supervision import PyTorch's compiler, sharding, SciPy and
torchvision's models for functions that detection never calls. A stand-in's names are classes
without instances that return what they decorate; called with anything else, the real module comes.
On a GPU there are none. Replaces: plain imports. Speed: docs/results.md. Off with
NUTRITION_VL_STAND_INS=0, and by itself: where imports fail, the command starts again without.
Tested by test_quick_imports.py. Can go with Python 3.15, whose imports may be lazy (PEP 810), or
when these libraries import less.
"""

import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

SWITCH = "NUTRITION_VL_STAND_INS"
UNUSED = [
    "boto3",
    "scipy",
    "supervision.annotators",  # real with --draw
    "torch._dynamo",
    "torch._inductor",
    "torch.distributed._composable",
    "torch.distributed.checkpoint",
    "torch.distributed.fsdp",
    "torch.distributed.tensor",
    "torch.nn.attention.flex_attention",
    "torchvision.datasets",
    "torchvision.models",
    "torchvision.ops._register_onnx_ops",
    "triton",
]


class Unused(type):
    """The type of a stand-in's names: classes that know their place (module, path)."""

    place: tuple[str, str]

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _unused(cls.place[0], f"{cls.place[1]}.{name}")

    def __call__(cls, *args: Any, **options: Any) -> Any:
        module, path = cls.place
        # A decorator; after the imports only the compiler's, which change no result.
        if args and callable(args[0]) and (FINDER.importing or module.startswith("torch.")):
            return args[0]
        if FINDER.importing:
            return _unused(module, f"{path}()")
        FINDER.remove()
        real: Any = import_module(module)
        for name in path.split("."):
            real = getattr(real, name)
        return real(*args, **options)

    def __instancecheck__(cls, instance: object) -> bool:
        return False

    def __getitem__(cls, item: object) -> Any:  # in annotations
        return cls


class StandIn(ModuleType):
    """A module whose names are all `Unused`."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _unused(self.__name__, name)


class Finder:
    """Gives stand-ins for UNUSED modules, as finder and loader of `sys.meta_path`."""

    importing = False

    def put(self) -> None:
        """Puts stand-ins in the place of modules that are imported from here on."""
        self.importing = True
        sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """From here on modules are imported as ever."""
        self.importing = False
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for name in [name for name, module in sys.modules.items() if isinstance(module, StandIn)]:
            del sys.modules[name]

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """The stand-in's spec; None for all other modules."""
        unused = any(f"{name}.".startswith(f"{one}.") for one in UNUSED)
        return ModuleSpec(name, self, is_package=True) if unused else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The stand-in."""
        return StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Does nothing."""


FINDER = Finder()


def _unused(module: str, name: str) -> Any:
    return Unused(name, (), {"place": (module, name)})


def run(main: Callable[[], int]) -> int:
    """The exit code of `main` with stand-ins; the whole command starts again if imports fail."""
    if os.environ.get(SWITCH) != "0":
        FINDER.put()
    try:
        return main()
    except (ImportError, AttributeError, TypeError, NameError):
        if not FINDER.importing:
            raise
        os.execve(sys.executable, sys.orig_argv, os.environ | {SWITCH: "0"})


@contextmanager
def quick_imports() -> Iterator[None]:
    """Imports libraries for detection in less time.

    Without TORCHDYNAMO_DISABLE, bitsandbytes (0.50) loads PyTorch's compiler for functions that
    detection never calls. Without gc.freeze, each collection goes through all that was imported.
    """
    disabled = os.environ.get("TORCHDYNAMO_DISABLE")
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    gc.disable()
    try:
        import torch

        if torch.cuda.is_available():
            FINDER.remove()
        yield
        FINDER.importing = False
    finally:
        gc.enable()
        gc.freeze()
        del os.environ["TORCHDYNAMO_DISABLE"]
        if disabled is not None:
            os.environ["TORCHDYNAMO_DISABLE"] = disabled

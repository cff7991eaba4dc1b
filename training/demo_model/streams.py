"""Photos for the next step are made on a GPU in a stream of their own.

In the training's stream every synchronisation of the camera waits for the step before, and the
GPU idles while Python starts the next: 0.21 s per step for 0.18 s of kernels on an H200.
"""

from typing import Any

import torch
from torch import Tensor

from training.demo_model import ranks


def use_own() -> None:
    """Gives the calling thread a stream of its own on this rank's GPU, where there is one."""
    ranks.use_own_gpu()
    if torch.cuda.is_available():
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.default_stream())
        torch.cuda.set_stream(stream)


def hand_over(*parts: Any) -> None:
    """Waits for the tensors of these objects, and keeps their memory until the default stream,
    which uses them next, is done with it."""
    torch.cuda.current_stream().synchronize()
    for part in parts:
        for value in vars(part).values() if part else ():
            if isinstance(value, Tensor):
                value.record_stream(torch.cuda.default_stream())

"""The PyTorch worker of benchmarks/gpu.py: python _gpu_torch.py SIZES training

That of benchmarks/recurrent.py on a GPU: nn.LSTM is cuDNN's there, packed where lengths vary.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from _gpu_keras import of_torch
from _recurrent_torch import Torch, torch
from _workers import Missing, peak_megabytes, serve
from _workloads import Workload


def main(sizes: str, mode: str) -> None:
    """Serves the driver."""

    def make() -> OnGpu:
        if torch is None:
            raise Missing("PyTorch is not installed")
        return OnGpu(Workload(**json.loads(sizes)), training=mode == "training", compiled=False)

    serve(make)


class OnGpu(Torch):
    """Steps of one workload, on the GPU where there is one."""

    def __init__(self, load: Workload, *, training: bool, compiled: bool) -> None:
        super().__init__(load, training=training, compiled=compiled)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.backends.cuda.matmul.allow_tf32 = True  # as TensorFlow and JAX have it, and cuDNN in all of them

    def device_use(self) -> dict[str, Any]:
        return of_torch() or {"device": "CPU", "megabytes": peak_megabytes()}


if __name__ == "__main__":
    main(*sys.argv[1:])

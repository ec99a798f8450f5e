"""The PyTorch worker of benchmarks/recurrent.py: python _recurrent_torch.py W1 training torch

Needs PyTorch and numpy, nothing of seqapps. What a PyTorch user writes: nn.LSTM and nn.GRU, packed sequences where
lengths vary (the ids are packed, so that embedding, head and loss see no padding either), fused Adam (the fastest of
the three forms on a CPU), clip_grad_norm_.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from _workers import THREADS, Missing, serve
from _workloads import WORKLOADS, Batch, Workload, batches, first_weights, recurrent_names

try:
    import torch
    from torch import nn
    from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
except ImportError:
    torch = None  # type: ignore[assignment]


def main(workload: str, mode: str, variant: str) -> None:
    """Serves the driver."""

    def make() -> Torch:
        if torch is None:
            raise Missing("PyTorch is not installed")
        return Torch(WORKLOADS[workload], training=mode == "training", compiled=variant == "torch-compile")

    serve(make)


class Torch:
    """Steps of one workload."""

    device = "cpu"

    def __init__(self, load: Workload, *, training: bool, compiled: bool) -> None:
        torch.set_num_threads(THREADS)
        torch.manual_seed(0)
        self._load, self._training, self._compiled = load, training, compiled
        self._place = 0

    def first(self) -> float:
        found = batches(self._load)
        self._batches = [_on(self.device, _tensors(batch)) for batch in found]
        self._model = models()[self._load.kind](self._load).to(self.device)
        self._model.train(self._training)
        self._optimizer = torch.optim.Adam(self._model.parameters(), 1e-3, eps=1e-7, fused=True)
        self._call = torch.compile(self._model) if self._compiled else self._model
        self._states: Any = None
        if self._training:
            return float(self._step())
        return float(self._infer().abs().sum() / (found[0].weights.sum() * self._load.classes))

    def run(self, steps: int, job: str = "") -> None:
        for _ in range(steps):
            result = self._step() if self._training else self._infer()
        if steps:
            float(result.flatten()[0])

    def product_rate(self) -> float:
        a = torch.rand(2048, 2048)
        return max(_rate(lambda: a @ a, 2 * 2048**3) for _ in range(5))

    def _next(self) -> Any:
        batch = self._batches[self._place]
        self._place = (self._place + 1) % len(self._batches)
        return batch

    def _step(self) -> Any:
        x, y = self._next()
        self._optimizer.zero_grad()
        logits, states = self._call(x, self._states)
        loss = nn.functional.cross_entropy(logits, y)
        loss.backward()
        nn.utils.clip_grad_norm_(self._model.parameters(), 1.0, foreach=True)
        self._optimizer.step()
        self._states = _detached(states)
        return loss.detach()

    def _infer(self) -> Any:
        with torch.inference_mode():
            logits, self._states = self._call(self._next()[0], self._states)
            return logits


def _rate(call: Any, operations: int) -> float:
    began = time.perf_counter()
    call()
    return operations / (time.perf_counter() - began)


def _detached(states: Any) -> Any:
    if isinstance(states, tuple):
        return tuple(state.detach() for state in states)
    return None if states is None else states.detach()


def _tensors(batch: Batch) -> Any:
    """Returns x, packed where lengths vary, and the targets of the real units in the order of the logits."""
    x = {name: torch.from_numpy(ids).long() for name, ids in batch.x.items()}
    y = torch.from_numpy(batch.y).long()
    if "source" in x:
        return (x["source"], x["target"]), y.flatten()
    (ids,) = x.values()
    if len(set(batch.lengths.tolist())) == 1:
        return ids, y.flatten()
    lengths = torch.from_numpy(batch.lengths)
    packed = pack_padded_sequence(ids, lengths, batch_first=True, enforce_sorted=False)
    if y.ndim == 1:
        return packed, y
    return packed, pack_padded_sequence(y, lengths, batch_first=True, enforce_sorted=False).data


def _on(device: str, x: Any) -> Any:
    # A packed sequence is a tuple, too.
    return tuple(_on(device, part) for part in x) if type(x) is tuple else x.to(device)


def _recurrent(load: Workload, inputs: int, layers: int, names: list[str]) -> Any:
    """Returns nn.LSTM or nn.GRU with the first weights of the workload."""
    kind = {"lstm": nn.LSTM, "gru": nn.GRU}[load.cell]
    network = kind(inputs, load.units, layers, batch_first=True, bidirectional=load.bidirectional)
    weights = first_weights(load)
    for layer, name in enumerate(names):
        each = weights[name]
        for direction, suffix in enumerate(("", "_reverse")[: len(each) // 3]):
            kernel, recurrent, bias = each[3 * direction : 3 * direction + 3]
            values = {"weight_ih": kernel.T, "weight_hh": recurrent.T}
            values["bias_ih"], values["bias_hh"] = bias if bias.ndim == 2 else (bias, 0.0 * bias)
            for part, value in values.items():
                set_value(getattr(network, f"{part}_l{layer}{suffix}"), _gates(value, load))
    return network


def _gates(value: Any, load: Workload) -> Any:
    """Keras' gates z, r, h of a GRU in PyTorch's order r, z, h; those of an LSTM are the same."""
    if load.cell == "lstm":
        return value
    units = load.units
    return [*value[units : 2 * units], *value[:units], *value[2 * units :]]


def set_value(parameter: Any, value: Any) -> None:
    """Gives a parameter its values."""
    import numpy as np

    with torch.no_grad():
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(value)))


def _linear(weights: list[Any]) -> Any:
    layer = nn.Linear(*weights[0].shape, bias=len(weights) > 1)
    set_value(layer.weight, weights[0].T)
    if len(weights) > 1:
        set_value(layer.bias, weights[1])
    return layer


def _embedding(weights: list[Any]) -> Any:
    layer = nn.Embedding(*weights[0].shape)
    set_value(layer.weight, weights[0])
    return layer


def models() -> dict[str, Any]:
    """Returns the modules by kind. They are made here because `nn` may be missing."""

    class Stack(nn.Module):
        """Embedding, recurrent layers, head on every step or on the last states."""

        def __init__(self, load: Workload) -> None:
            super().__init__()
            weights = first_weights(load)
            self.embedding = _embedding(weights["embedding"])
            self.recurrent = _recurrent(load, load.embedding, load.layers, recurrent_names(load))
            self.head = _linear(weights["logits"])
            self.per_row, self.carry = load.kind == "classifier", load.kind == "language_model"
            self.padded_logits = load.kind == "tagger"

        def forward(self, x: Any, states: Any) -> Any:
            if isinstance(x, PackedSequence):
                x = PackedSequence(self.embedding(x.data), x.batch_sizes, x.sorted_indices, x.unsorted_indices)
            else:
                x = self.embedding(x)
            hidden, last = self.recurrent(x, states)
            if self.per_row:
                hidden = torch.cat([last[0][-2], last[0][-1]], dim=1)
            elif isinstance(hidden, PackedSequence):
                logits = self.head(hidden.data)
                if self.padded_logits and not self.training:
                    whole = PackedSequence(logits, hidden.batch_sizes, hidden.sorted_indices, hidden.unsorted_indices)
                    logits, _ = pad_packed_sequence(whole, batch_first=True)
                return logits, None
            return self.head(hidden).flatten(0, -2), last if self.carry else None

    class EncoderDecoder(nn.Module):
        """LSTM encoder, tanh bridge, LSTM decoder, general attention (Luong et al. 2015), readout, head."""

        def __init__(self, load: Workload) -> None:
            super().__init__()
            weights = first_weights(load)
            self.sides = nn.ModuleList([_embedding(weights[f"{side}_embedding"]) for side in ("source", "target")])
            names = recurrent_names(load)
            self.networks = nn.ModuleList([_recurrent(load, load.embedding, 1, [name]) for name in names])
            self.bridges = nn.ModuleList([_linear(weights[f"bridge_0_{state}"]) for state in ("h", "c")])
            self.keys, self.readout = _linear(weights["attention_keys"]), _linear(weights["readout"])
            self.head = _linear(weights["logits"])

        def forward(self, x: Any, states: Any) -> Any:
            memory, keys, first = self.read(x[0])
            logits, _ = self.write(x[1], first, memory, keys)
            return logits.flatten(0, -2), None

        def read(self, source: Any) -> Any:
            """Returns the memory, the keys of attention and the decoder's first states."""
            memory, last = self.networks[0](self.sides[0](source))
            first = tuple(torch.tanh(bridge(state)) for bridge, state in zip(self.bridges, last, strict=True))
            return memory, self.keys(memory), first

        def write(self, target: Any, states: Any, memory: Any, keys: Any) -> Any:
            """Returns logits and the states after the last step; `target` is `[B, T]`, or `[B]` for one step."""
            x = self.sides[1](target if target.ndim == 2 else target[:, None])
            hidden, states = self.networks[1](x, states)
            scores = torch.softmax(hidden @ keys.transpose(1, 2), dim=-1)
            vector = torch.tanh(self.readout(torch.cat([scores @ memory, hidden], dim=-1)))
            logits = self.head(vector)
            return logits if target.ndim == 2 else logits[:, 0], states

    return {"language_model": Stack, "tagger": Stack, "classifier": Stack, "encoder_decoder": EncoderDecoder}


if __name__ == "__main__":
    main(*sys.argv[1:])

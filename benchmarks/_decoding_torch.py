"""The PyTorch worker of benchmarks/decoding.py: the same loops on ids, as a PyTorch user writes them.

Tokenisation, which the SavedModel does in its graph, is left out here.
"""

from __future__ import annotations

import math
from typing import Any

from _jobs import BEGIN, END, JOBS, LANGUAGE_MODEL, PAD, TRANSLATOR, UNKNOWN, Job, endless_weights, source_ids
from _recurrent_torch import models, set_value, torch
from _workers import THREADS, Missing, serve


def make() -> Loops:
    """Raises Missing where there is no PyTorch."""
    if torch is None:
        raise Missing("PyTorch is not installed")
    torch.set_num_threads(THREADS)
    return Loops()


class Loops:
    """Greedy search, sampling, beam search and suggestions."""

    def first(self) -> dict[str, float]:
        torch.manual_seed(0)
        self._models = {}
        for name, load in (("language model", LANGUAGE_MODEL), ("translator", TRANSLATOR)):
            model = models()[load.kind](load).eval()
            set_value(model.head.bias, endless_weights(load)["logits"][1])
            self._models[name] = model
        return {name: self._call(job) for name, job in JOBS.items() if job.search in ("greedy", "beam 5")}

    def run(self, steps: int, job: str) -> None:
        for _ in range(steps):
            self._call(JOBS[job])

    def product_rate(self) -> float:
        return 0.0

    def _call(self, job: Job) -> float:
        """Returns the mean log p of a row."""
        with torch.inference_mode():
            if job.model == "language model":
                return self._language_model(job)
            translator = self._models["translator"]
            memory, keys, states = translator.read(torch.from_numpy(source_ids(job.rows)))
            if job.search == "beam 5":
                return _beam(translator, memory, keys, states, job)

            def step(token: Any, states: Any) -> Any:
                return translator.write(token, states, memory, keys)

            return _write(step, torch.full((job.rows,), BEGIN), states, job, close=True)

    def _language_model(self, job: Job) -> float:
        model = self._models["language model"]

        def step(token: Any, states: Any) -> Any:
            hidden, states = model.recurrent(model.embedding(token[:, None]), states)
            return model.head(hidden[:, 0]), states

        read = torch.tensor([[END, 5, 6]]).repeat(job.rows, 1)
        _, states = model.recurrent(model.embedding(read))
        last = torch.full((job.rows,), 7)
        if job.search == "complete":
            logits, _ = step(last, states)
            best = torch.softmax(logits, dim=1).topk(5)
            return float(sum(best.values[0].tolist()) + sum(best.indices[0].tolist()))
        return _write(step, last, states, job, close=False)


def _never(logits: Any) -> Any:
    """Logits of the tokens that no text holds become -inf."""
    logits = logits.clone()
    logits[:, [PAD, UNKNOWN, BEGIN]] = -math.inf
    return logits


def _write(step: Any, token: Any, states: Any, job: Job, *, close: bool) -> float:
    """Writes token by token until every row has ended; `close`: `<eos>` is the last one of the limit."""
    total, done, written = torch.zeros(job.rows), torch.zeros(job.rows, dtype=torch.bool), []
    for place in range(job.tokens):
        logits, states = step(token, states)
        log_p = torch.log_softmax(logits, dim=1)
        if close and place == job.tokens - 1:
            token = torch.full_like(token, END)
        elif job.search == "greedy":
            token = _never(logits).argmax(dim=1)
        else:
            token = torch.multinomial(torch.softmax(_never(logits) / 0.8, dim=1), 1)[:, 0]
        total += torch.where(done, 0.0, log_p.gather(1, token[:, None])[:, 0])
        token = torch.where(done, PAD, token)
        written.append(token)
        done |= token == END
        if bool(done.all()):
            break
    torch.stack(written, dim=1).tolist()
    return float(total.mean())


def _beam(translator: Any, memory: Any, keys: Any, states: Any, job: Job) -> float:
    """Beam search over 5 hypotheses a row. `<eos>` is never among the best before the limit, so none ends early."""
    width, rows = 5, job.rows
    memory, keys = (value.repeat_interleave(width, dim=0) for value in (memory, keys))
    states = tuple(state.repeat_interleave(width, dim=1) for state in states)
    token = torch.full((rows * width,), BEGIN)
    log_p = torch.full((rows, width), -math.inf)
    log_p[:, 0] = 0.0
    ids = torch.zeros(rows, width, job.tokens, dtype=torch.long)
    offset = torch.arange(rows)[:, None] * width
    for place in range(job.tokens - 1):
        logits, states = translator.write(token, states, memory, keys)
        found = _never(torch.log_softmax(logits, dim=1)).view(rows, width, -1) + log_p[:, :, None]
        log_p, index = found.view(rows, -1).topk(width)
        parent, chosen = index // logits.shape[1], index % logits.shape[1]
        ids = ids.gather(1, parent[:, :, None].expand_as(ids))
        ids[:, :, place] = chosen
        token, places = chosen.flatten(), (parent + offset).flatten()
        states = tuple(state[:, places] for state in states)
    logits, _ = translator.write(token, states, memory, keys)
    log_p = log_p + torch.log_softmax(logits, dim=1)[:, END].view(rows, width)
    ids[:, 0].tolist()
    return float(log_p.max(dim=1).values.mean())


if __name__ == "__main__":
    serve(make)

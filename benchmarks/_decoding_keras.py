"""The TensorFlow worker of benchmarks/decoding.py: exports two models and asks them through seqapps.serving."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from _jobs import JOBS, LANGUAGE_MODEL, PROMPT, TRANSLATOR, Job, endless_weights, source
from _workers import THREADS, serve


def make() -> Exported:
    """Imports all that the models need."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    import seqapps.inference.text_generator
    import seqapps.inference.translator
    import seqapps.serving  # noqa: F401

    return Exported()


class Exported:
    """Calls of SavedModels: raw text in, raw text out."""

    def first(self) -> dict[str, float]:
        from seqapps import serving

        with tempfile.TemporaryDirectory() as folder:
            self._served = {
                "language model": serving.load(save(Path(folder) / "lm", "language_model", generator())),
                "translator": serving.load(save(Path(folder) / "mt", "translation", _translator())),
            }
        return {name: self._figure(job) for name, job in JOBS.items() if job.search in ("greedy", "beam 5")}

    def run(self, steps: int, job: str) -> None:
        for _ in range(steps):
            self._call(JOBS[job])

    def product_rate(self) -> float:
        return 0.0

    def _figure(self, job: Job) -> float:
        """Mean log p of a row."""
        found = self._call(job)
        values = [-nats for nats in found["nats"]] if "nats" in found else found["log_probability"]
        return float(sum(values) / len(values))

    def _call(self, job: Job) -> Any:
        served = self._served[job.model]
        if job.search == "complete":
            return served.predict([PROMPT], complete=True)
        drawing = {"temperature": 0.0 if job.search == "greedy" else 0.8, "top_k": 0, "seed": 1}
        if job.model == "language model":
            prompts = [PROMPT] * job.rows
            return served.call("generate", prompt=prompts, **_each(job, max_length=job.tokens, **drawing))
        limits = {"max_length": job.tokens, "min_length": 0, "no_repeat_ngram": 0}
        rows = [source(row) for row in range(job.rows)]
        if job.search == "beam 5":
            search = _each(job, beam=5, n_best=1, length_penalty=0.0, **limits)
            return served.call("translate", source=rows, **search)
        return served.call("sample", source=rows, **_each(job, **limits, **drawing))


def _each(job: Job, **settings: Any) -> dict[str, list[Any]]:
    """Returns settings once for each row."""
    return {name: [value] * job.rows for name, value in settings.items()}


def generator() -> Any:
    """Returns a language model that takes and returns text, not exported yet."""
    from seqapps.architectures import stacked
    from seqapps.inference.text_generator import TextGenerator

    load = LANGUAGE_MODEL
    config = stacked.Config(units=(load.units,) * load.layers, embedding=load.embedding)
    model = stacked.build(config, vocabulary_size=load.vocabulary, carry=True, use_cudnn=False)
    _place(model, load)
    return TextGenerator(model, _tokenizer(load.vocabulary), start=3)


def _translator() -> Any:
    from seqapps.architectures import encoder_decoder
    from seqapps.inference.translator import Translator

    load = TRANSLATOR
    sizes = {"units": (load.units,), "embedding": load.embedding, "bidirectional": False}
    config = encoder_decoder.Config(**sizes, attention="general", tie_embeddings="none")
    model = encoder_decoder.build(config, source_size=load.vocabulary, target_size=load.vocabulary, use_cudnn=False)
    _place(model, load)
    return Translator(model, _tokenizer(load.vocabulary), _tokenizer(load.vocabulary))


def _place(model: Any, load: Any) -> None:
    layers = {layer.name: layer for layer in model._flatten_layers()}
    for name, weights in endless_weights(load).items():
        layers[name].set_weights(weights)


def _tokenizer(size: int) -> Any:
    from seqapps.preprocessing.tokenizers import Tokenizer, TokenizerConfig
    from seqapps.preprocessing.vocabulary import SPECIALS, Vocabulary

    words = tuple(f"w{index}" for index in range(size - len(SPECIALS)))
    return Tokenizer(TokenizerConfig(level="word"), Vocabulary((*SPECIALS, *words)))


def save(folder: Path, application: str, module: Any) -> Path:
    """Exports it as a folder that `seqapps.serving.load` reads."""
    from dataclasses import asdict

    import tensorflow as tf

    from seqapps import formats
    from seqapps.exported import Exported

    tf.saved_model.save(module, str(folder), signatures=module.signatures())
    record = Exported(application, "", {}, {}, {}, {}, "", "", tf.__version__, True, {})
    formats.write(folder / "model.json", "export", asdict(record))
    return folder


if __name__ == "__main__":
    serve(make)

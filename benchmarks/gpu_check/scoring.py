"""Scoring by a discriminator in the trainer's process: its rate shows the precision of its products."""

from __future__ import annotations

import time

import torch

from benchmarks.gpu_check import models
from benchmarks.gpu_check.figures import Value
from benchmarks.gpu_check.flops import PASSES, Group, mfu, useful
from benchmarks.gpu_check.report import Report
from benchmarks.gpu_check.road import synchronize
from uniapl.discriminators.base import Comparison
from uniapl.discriminators.learned import LearnedDiscriminator
from uniapl.run.config import ModelSource
from uniapl.spec.discriminator import LearnedDiscriminator as Options

TOKENIZER = "tiny-random-llama"
TEXTS, WORDS = {"cpu": 4, "cuda": 32}, {"cpu": 30, "cuda": 3000}
"""Texts, and words of each, which are about as many tokens."""


def score(report: Report) -> None:
    """Score texts twice; the first call is a warm-up."""
    discriminator, config = discriminator_of(report)
    rates: list[tuple[float, int]] = []
    for version in range(2):
        texts = ["".join(f" e{version}" for _ in range(WORDS[report.device] + i)) for i in range(TEXTS[report.device])]
        synchronize(report.device)
        started = time.perf_counter()
        scores = discriminator.score([Comparison("", "", text) for text in texts])
        rates.append((time.perf_counter() - started, int(scores.isfinite().sum())))
    seconds, finite = rates[-1]
    lengths = [len(ids) for ids in discriminator._tokenizer(texts)["input_ids"]]
    figures: dict[str, Value] = {"tokens/s": sum(lengths) / seconds, "finite": finite / len(texts)}
    if not report.is_short:
        flop = useful(models.shape_of(config), [Group(length, ()) for length in lengths]) / PASSES
        share = mfu(flop, seconds, torch.cuda.get_device_name())
        figures["MFU of scoring"] = "unknown card" if share is None else share
    report.figures("learned discriminator", figures)


def discriminator_of(report: Report) -> tuple[LearnedDiscriminator, models.Config]:
    """The bundled tiny model; on a GPU with the layers of Qwen3-0.6B and random weights."""
    source = ModelSource(path=str(report.models / TOKENIZER))
    found = LearnedDiscriminator(source, options=Options(batch_size=8), seed=0, device=torch.device(report.device))
    if report.is_short:
        return found, {}
    config = models.QWEN3_06B | {"vocab_size": found._backbone.config.vocab_size}
    found._backbone = models.random_policy(config, report.device).model.base_model
    found._head = torch.nn.Linear(config["hidden_size"], 1, bias=False, device=report.device)
    return found, config

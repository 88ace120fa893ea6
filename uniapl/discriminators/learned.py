"""Learned discriminator, trained together with the policy (GAD, arXiv:2511.10643)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import logsigmoid

from uniapl.chat.renderer import Renderer
from uniapl.discriminators.base import BatchCache, Comparison
from uniapl.discriminators.last_token import last_token_scores
from uniapl.errors import CheckpointError, DivergedError, ModelError
from uniapl.model.logprobs import precision
from uniapl.model.policy import load_policy
from uniapl.run.config import ModelSource
from uniapl.spec.discriminator import LearnedDiscriminator as Options

MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""AdamW's state of each parameter."""
BACKWARD_TOKENS = 16_384
"""Most tokens of one backward pass, padding included, unless a single pair has more."""


class LearnedDiscriminator:
    """D(x, y): a scalar head on the student's base, trained to score the teacher's answer y* above the student's y.

        L_D = -mean log σ(D(x, y*) - D(x, y))

    Its input is prompt and answer. The reference is the preferred example, not an input: with both as inputs it would
    learn to compare strings for equality, which separates y* from every y but does not measure how close y is.
    """

    default_scale = 1.0
    remote = False

    def __init__(self, source: ModelSource, *, options: Options, seed: int, device: torch.device) -> None:
        """
        Args:
            source: a causal language model; its language-model head is not used.
            options: learning rate, warm-up and batch size.
            seed: the job's seed; initialises the scalar head.
            device: device of the weights.

        Raises:
            ModelError: the model cannot be loaded.
        """
        try:
            policy = load_policy(source, device)
        except ModelError as error:
            raise ModelError(error.message, param="discriminator.model", hint=error.hint) from error
        self._tokenizer = policy.tokenizer
        self._renderer = Renderer(policy.tokenizer, policy.end_of_turn) if policy.tokenizer.chat_template else None
        self._backbone = policy.model.base_model  # in eval mode: no dropout, as in the policy
        self._head = _new_head(self._backbone.config.get_text_config(), seed).to(device)
        self._optimizer = torch.optim.AdamW(
            list(self._parameters().values()), lr=options.learning_rate, weight_decay=0.0, fused=True
        )
        self._options = options
        self._batches = BatchCache(self._logits, options.batch_size)
        self.version = 0
        """Updates so far; scores are those of this version."""

    @property
    def ready(self) -> bool:
        """Whether `warmup_steps` updates are done."""
        return self.version >= self._options.warmup_steps

    def score(self, comparisons: Sequence[Comparison]) -> Tensor:
        """See `Discriminator.score`; the unbounded logit D(x, y)."""
        return self._batches([(c.prompt, c.output) for c in comparisons], self.version)

    def learn(self, comparisons: Sequence[Comparison]) -> dict[str, float]:
        """One AdamW step on L_D over all pairs whose two texts differ; does nothing without such pairs.

        The gradient does not depend on how the pairs are cut into backward passes.

        Returns:
            `disc/loss`, and `disc/accuracy`: the share of pairs in the right order before the step.

        Raises:
            DivergedError: the loss is not finite; the weights are unchanged.
        """
        pairs = [c for c in comparisons if c.output != c.reference]
        if not pairs:
            return {}
        loss, right = 0.0, 0
        for piece in self._cut(pairs):
            with precision(self._head.weight.device):
                margins = self._margins(piece)
            part = -logsigmoid(margins).sum() / len(pairs)
            part.backward()
            loss += part.item()
            right += int((margins > 0).sum())
        self._apply(loss)
        return {"disc/loss": loss, "disc/accuracy": right / len(pairs)}

    def save(self, folder: Path) -> None:
        """Write weights, AdamW's moments and the version into `folder`, which is created."""
        folder.mkdir(parents=True)
        parameters = self._parameters()
        save_file({name: p.detach().contiguous() for name, p in parameters.items()}, folder / "model.safetensors")
        state = self._optimizer.state
        moments = {f"{n}.{k}": v.contiguous() for n, p in parameters.items() for k, v in state.get(p, {}).items()}
        save_file(moments, folder / "optimizer.safetensors")
        (folder / "state.json").write_text(json.dumps({"version": self.version}))

    def load(self, folder: Path) -> None:
        """Restore the state that `save` wrote; later scores and updates are bit-identical.

        Raises:
            CheckpointError: a file is missing or does not fit the model.
        """
        device = str(self._head.weight.device)
        try:
            weights = load_file(folder / "model.safetensors", device=device)
            moments = load_file(folder / "optimizer.safetensors", device=device)
            self.version = int(json.loads((folder / "state.json").read_text())["version"])
            for name, parameter in self._parameters().items():
                parameter.data.copy_(weights[name])
                if f"{name}.step" in moments:  # absent before the first update
                    self._optimizer.state[parameter] = {key: moments[f"{name}.{key}"] for key in MOMENTS}
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise CheckpointError(f"cannot read the discriminator in {folder}: {error}") from error
        self._batches = BatchCache(self._logits, self._options.batch_size)  # drops results of the old weights

    def _apply(self, loss: float) -> None:
        gradients = [p.grad for p in self._parameters().values() if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        if not torch.isfinite(norm + loss):
            self._optimizer.zero_grad()
            raise DivergedError(
                f"update {self.version + 1} of the discriminator: loss is {loss}, gradient norm is {norm.item()}",
                param="discriminator.learning_rate",
                hint="lower discriminator.learning_rate",
            )
        self._optimizer.step()
        self._optimizer.zero_grad()
        self.version += 1

    def _cut(self, pairs: list[Comparison]) -> Iterator[list[Comparison]]:
        """Parts of at most `batch_size` pairs and `BACKWARD_TOKENS` tokens, at least one pair each."""
        part: list[Comparison] = []
        width = 0  # tokens of the longest text of the part
        for pair in pairs:
            longest = max(len(self._tokens(pair.prompt, answer)) for answer in (pair.reference, pair.output))
            tokens = 2 * (len(part) + 1) * max(width, longest)
            if part and (len(part) == self._options.batch_size or tokens > BACKWARD_TOKENS):
                yield part
                part, width = [], 0
            part.append(pair)
            width = max(width, longest)
        yield part

    def _margins(self, pairs: list[Comparison]) -> Tensor:  # (n,)
        """D(x, y*) - D(x, y); a reference that several pairs share is computed once."""
        texts = list(dict.fromkeys((c.prompt, answer) for c in pairs for answer in (c.reference, c.output)))
        scores = last_token_scores(self._backbone, self._head, [self._tokens(*text) for text in texts])
        position = {text: i for i, text in enumerate(texts)}
        chosen = scores[[position[c.prompt, c.reference] for c in pairs]]
        return chosen - scores[[position[c.prompt, c.output] for c in pairs]]

    @torch.no_grad()
    def _logits(self, texts: list[tuple[str, str]]) -> Tensor:  # (n,)
        with precision(self._head.weight.device):
            return last_token_scores(self._backbone, self._head, [self._tokens(*text) for text in texts])

    def _tokens(self, prompt: str, answer: str) -> list[int]:
        """The prompt as one user turn, or with a line break without a chat template; answer; end token."""
        if self._renderer is not None:
            return self._renderer.exchange(prompt, answer)
        parts = [self._tokenizer(part, add_special_tokens=False)["input_ids"] for part in (f"{prompt}\n", answer)]
        return [*parts[0], *parts[1], int(self._tokenizer.eos_token_id)]

    def _parameters(self) -> dict[str, torch.nn.Parameter]:
        return {f"backbone.{n}": p for n, p in self._backbone.named_parameters()} | {"head.weight": self._head.weight}


def _new_head(config: Any, seed: int) -> torch.nn.Linear:
    """A scalar head drawn from the seed alone, with the model's own initialiser range."""
    head = torch.nn.Linear(config.hidden_size, 1, bias=False)
    deviation = getattr(config, "initializer_range", None) or 0.02
    torch.nn.init.normal_(head.weight, std=deviation, generator=torch.Generator().manual_seed(seed))
    return head

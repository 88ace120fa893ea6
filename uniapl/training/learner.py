"""Policy learner: the gradient of one step's sequences, and one optimizer update from it."""

from __future__ import annotations

import itertools
import math
import time
from collections import defaultdict
from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import replace

import torch
from torch import Tensor

from uniapl.batching.batch import Counts, MicroBatch, Sequence
from uniapl.batching.packed import PackedBatch, pack
from uniapl.errors import DivergedError
from uniapl.estimate.resources import CPU_TOKENS
from uniapl.model.logprobs import completion_logprobs, precision
from uniapl.model.policy import Policy, Reference
from uniapl.objective.losses import bounded_anchor, kl_penalty, unified_terms
from uniapl.run.out_of_memory import is_out_of_memory
from uniapl.run.signals import raise_if_stopped
from uniapl.spec.job import JobSpec
from uniapl.spec.weights import Weights
from uniapl.training.host_moments import HostMoments
from uniapl.training.optimizer import adamw

Metrics = dict[str, float]
Totals = defaultdict[str, float]
"""Sums over the sequences of a step, for its metrics."""
ByTerm = dict[str, list[Tensor]]
"""The gradient of each term, one tensor per trainable parameter."""
OnHalved = Callable[[int, int, int], None]
"""Called with the step (0 for the first), the old and the new `micro_batch_tokens`."""
TERMS = ("sft", "grpo", "adv")


class Learner:
    """Computes gradients over micro-batches, clips them, and updates the policy with AdamW."""

    def __init__(
        self,
        policy: Policy,
        spec: JobSpec,
        reference: Reference | None = None,
        micro_batch_tokens: int | None = None,
        on_halved: OnHalved = lambda step, old, new: None,
        *,
        offload: bool = False,
    ) -> None:
        """
        Args:
            policy: the student; its trainable parameters are updated.
            spec: objective and optimizer.
            reference: the reference policy of the KL penalty, for `grpo.kl_coef`.
            micro_batch_tokens: tokens per pass, as chosen for the device; by default the spec's value or that of a CPU.
            on_halved: called when an update ran out of memory and is computed again in smaller passes.
            offload: whether AdamW's moments leave the device while the policy is sampled.

        Raises:
            LibraryMissingError: `optimizer.moments` needs a library that is not installed.
        """
        self._on_halved = on_halved
        self.micro_batch_tokens = micro_batch_tokens or spec.resources.micro_batch_tokens or CPU_TOKENS
        self._policy = policy
        self._reference = reference
        self._spec = spec
        self._parameters = [p for p in policy.model.parameters() if p.requires_grad]
        self.optimizer = adamw(self._parameters, spec.optimizer)
        self._host_moments = HostMoments(self.optimizer) if offload else None

    def update(
        self,
        sequences: Seq[Sequence],
        step: int,
        *,
        measure_terms: bool,
        stoppable: bool = True,
        lambda_factor: float = 1.0,
    ) -> Metrics:
        """One optimizer step over all sequences.

        The gradient does not depend on how the step is cut into passes. If memory is exhausted, the gradient is
        computed again with half of `micro_batch_tokens`, which stay halved for the rest of the run.

        Args:
            sequences: demonstrations and rollouts of the whole step.
            step: 0 for the first; sets the learning rate, alpha and lambda_adv.
            measure_terms: also measure the gradient norm of each term and the cosines between them, at the cost of
                one backward pass and one gradient in memory per term.
            stoppable: whether a stop may end the update.
            lambda_factor: multiplies lambda_adv, in the constrained form.

        Raises:
            DivergedError: the loss or the gradient is not finite; the weights are unchanged.
            Stopped: a stop is requested; the weights are unchanged.
            torch.OutOfMemoryError: the longest sequence alone exhausts the memory; the weights are unchanged. CUDA
                libraries raise other `RuntimeError`s for it.
        """
        started = time.monotonic()
        weights, counts = self._spec.weights_at(step).times(lambda_factor), Counts.of(sequences)
        active = _active_terms(counts, weights)
        weighted, unweighted = self._split_by_weight(sequences, weights)
        measured = active if measure_terms else []
        while (found := self._gradient(weighted, counts, weights, measured, stoppable)) is None:
            self._halve(weighted, step)
        totals, by_term = found
        _add_unweighted(totals, unweighted)
        metrics = self._loss_metrics(totals, counts, weights)
        if by_term:
            metrics |= self._merge_terms(by_term)
        elif active and not weighted:
            self._set_gradients(self._zeros())  # AdamW's moments decay in this step as in any other
        metrics["time/forward_backward"] = time.monotonic() - started
        metrics |= self._apply(step, metrics["loss"])
        metrics["num_tokens"] = float(sum(s.num_tokens for s in sequences))
        metrics["perf/forward_tokens"] = totals["forward_tokens"]
        return metrics

    def _gradient(
        self, weighted: list[Sequence], counts: Counts, weights: Weights, measured: list[str], stoppable: bool
    ) -> tuple[Totals, ByTerm] | None:
        """Accumulate the gradient of a step, separately for each term in `measured`.

        Returns:
            The sums of the metrics and the gradients of the measured terms; `None` if memory was exhausted. The
            exception is dropped then, since its frames hold the activations.
        """
        totals: Totals = defaultdict(float)
        try:
            by_term = {name: self._zeros() for name in measured}
            for packed in pack(
                weighted, self.micro_batch_tokens, self._policy.pad_id, self._policy.device, self._policy.layout
            ):
                if stoppable:
                    raise_if_stopped()
                self._accumulate(packed, counts, weights, totals, by_term)
        except (RuntimeError, MemoryError) as error:
            if not _exhausts_memory(error):
                raise
            longest = max((sequence.num_tokens for sequence in weighted), default=0)
            if self.micro_batch_tokens <= longest:
                error.add_note(f"one pass over the step's longest sequence, {longest} tokens, exhausts the memory")
                raise
            return None
        return totals, by_term

    def _halve(self, weighted: list[Sequence], step: int) -> None:
        """Drop the gradient, free cached memory, and halve the tokens per pass, not below the longest sequence."""
        self.optimizer.zero_grad()
        if self._policy.device.type == "cuda":
            torch.cuda.empty_cache()
        old, lengths = self.micro_batch_tokens, [sequence.num_tokens for sequence in weighted]
        self.micro_batch_tokens = max(max(lengths), min(old, sum(lengths)) // 2)
        self._on_halved(step, old, self.micro_batch_tokens)

    def free_for_sampling(self) -> None:
        """Free the device's memory that only an update needs, where a sampler shares it; call it before sampling."""
        if self._host_moments is not None:
            self._host_moments.offload()

    def discard_gradients(self) -> None:
        """Drop the gradients of an update that was stopped."""
        self.optimizer.zero_grad()

    def _split_by_weight(self, sequences: Seq[Sequence], weights: Weights) -> tuple[list[Sequence], list[Sequence]]:
        """The sequences with a non-zero loss weight, and the others, which need no forward pass."""
        kl_penalty = self._spec.grpo.kl_coef > 0
        weighted = [s for s in sequences if s.has_loss_weight(weights, kl_penalty=kl_penalty)]
        return weighted, [s for s in sequences if not s.has_loss_weight(weights, kl_penalty=kl_penalty)]

    def _accumulate(
        self,
        packed: PackedBatch,
        counts: Counts,
        weights: Weights,
        totals: Totals,
        by_term: ByTerm,
    ) -> None:
        """Forward and backward pass of one pack; adds to the gradients and to the sums of the metrics."""
        spec, batch = self._spec, packed.batch
        temperature = torch.where(batch.sampled, spec.rollout.temperature, 1.0)  # (B,)
        with precision(self._policy.device):
            if self._reference is not None and batch.explored.any():
                batch = replace(batch, ref_logprobs=self._reference.logprobs(packed, temperature=temperature))
            logprobs, entropy = completion_logprobs(self._policy.model, packed, temperature=temperature)
        sampler_logprobs = batch.old_logprobs
        batch = replace(batch, old_logprobs=bounded_anchor(logprobs, sampler_logprobs, spec.rollout.max_ratio))
        terms = unified_terms(logprobs, batch, counts, spec)
        weighted = terms.weighted(weights)
        if not by_term:
            torch.stack(list(weighted.values())).sum().backward()  # one backward pass for all terms
        else:
            self._backward_by_term(weighted, batch, by_term)
        for name in TERMS:
            totals[name] += getattr(terms, name).item()
        totals["forward_tokens"] += packed.input_ids.numel()
        if batch.ref_logprobs is not None:
            explored = batch.completion_mask & batch.explored[:, None]
            totals["kl"] += kl_penalty(logprobs.detach(), batch.ref_logprobs, explored, "k3").sum().item()
        sampled = batch.completion_mask & batch.sampled[:, None]  # (B, C)
        if sampled.any():
            difference = (logprobs.detach() - sampler_logprobs)[sampled]
            ratio = difference.exp()
            totals["ratio"] += ratio.sum().item()
            totals["ratio_max"] = max(totals["ratio_max"], ratio.max().item())
            totals["truncated"] += (ratio > spec.rollout.max_ratio).sum().item()
            totals["sampled_tokens"] += sampled.sum().item()
            totals["compared_tokens"] += sampled.sum().item()
            totals["entropy"] += entropy[sampled].sum().item()
            totals["logp_difference"] += difference.abs().sum().item()
            totals["logp_difference_max"] = max(totals["logp_difference_max"], difference.abs().max().item())
            totals["clipped"] += ((ratio < 1 - spec.grpo.clip_low) | (ratio > 1 + spec.grpo.clip_high)).sum().item()

    def _backward_by_term(self, weighted: dict[str, Tensor], batch: MicroBatch, by_term: ByTerm) -> None:
        """One backward pass per term, each into a separate gradient."""
        seen = {"sft": batch.demonstration, "grpo": batch.explored, "adv": batch.compared}
        here = {name: term for name, term in weighted.items() if bool(seen[name].any())}
        for left, (name, term) in zip(reversed(range(len(here))), here.items(), strict=True):
            self._set_gradients(by_term[name])  # backward adds to them in place
            term.backward(retain_graph=left > 0)
            by_term[name] = self._take_gradients()

    def _zeros(self) -> list[Tensor]:
        return [torch.zeros_like(parameter) for parameter in self._parameters]

    def _set_gradients(self, gradients: list[Tensor]) -> None:
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient

    def _take_gradients(self) -> list[Tensor]:
        """Move the gradients out of the parameters."""
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._parameters]
        for parameter in self._parameters:
            parameter.grad = None
        return gradients

    def _merge_terms(self, by_term: ByTerm) -> Metrics:
        """Norms of the weighted terms' gradients and cosines between them; their sum becomes the gradient.

        `by_term` is empty afterwards: AdamW allocates its moments in the first step, which is measured too.
        """
        norms = {name: _norm(gradients) for name, gradients in by_term.items()}
        metrics = {f"uniapl/grad_norm_{name}": norm for name, norm in norms.items()}
        for a, b in itertools.combinations([name for name in TERMS if name in by_term], 2):
            dot = sum((x * y).sum().item() for x, y in zip(by_term[a], by_term[b], strict=True))
            metrics[f"uniapl/cos_{a}_{b}"] = dot / max(norms[a] * norms[b], 1e-30)
        _, total = by_term.popitem()
        while by_term:
            torch._foreach_add_(total, by_term.popitem()[1])
        self._set_gradients(total)
        return metrics

    def _loss_metrics(self, totals: Totals, counts: Counts, weights: Weights) -> Metrics:
        alpha, lambda_adv = weights.alpha, weights.lambda_adv
        metrics = {
            "loss": alpha * totals["sft"] + (1 - alpha) * totals["grpo"] + lambda_adv * totals["adv"],
            "uniapl/alpha": alpha,
            "uniapl/lambda_adv": lambda_adv,
        }
        metrics |= {f"uniapl/loss_{name}": totals[name] for name in _active_terms(counts, weights)}
        if self._reference is not None and counts.grpo_tokens:
            metrics["kl"] = totals["kl"] / counts.grpo_tokens
        if n := totals["sampled_tokens"]:
            metrics["entropy"] = totals["entropy"] / n
        if n := totals["compared_tokens"]:
            metrics |= {
                "clip_ratio/region_mean": totals["clipped"] / n,
                "sampling/sampling_logp_difference/mean": totals["logp_difference"] / n,
                "sampling/sampling_logp_difference/max": totals["logp_difference_max"],
                "sampling/importance_sampling_ratio/mean": totals["ratio"] / n,
                "sampling/importance_sampling_ratio/max": totals["ratio_max"],
                "sampling/importance_sampling_ratio/truncated": totals["truncated"] / n,
            }
        return metrics

    def _apply(self, step: int, loss: float) -> Metrics:
        """Clip the gradient, take the AdamW step, drop the gradient."""
        started = time.monotonic()
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._spec.optimizer.max_grad_norm).item()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.optimizer.zero_grad()
            raise DivergedError(
                f"step {step + 1}: loss is {loss}, gradient norm is {norm}",
                param="optimizer.learning_rate",
                hint="lower optimizer.learning_rate or lambda_adv, or set adversarial.coef_clip",
            )
        rate = self._spec.optimizer.rate_at(step, self._spec.schedule.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if self._host_moments is not None:
            self._host_moments.restore()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return {"grad_norm": norm, "learning_rate": rate, "time/optim": time.monotonic() - started}


def _active_terms(counts: Counts, weights: Weights) -> list[str]:
    """The terms with a positive weight and rows."""
    rows = {"sft": counts.sft_tokens, "grpo": counts.grpo_tokens, "adv": counts.adv_rollouts}
    weight = {"sft": weights.alpha, "grpo": 1 - weights.alpha, "adv": weights.lambda_adv}
    return [name for name in TERMS if rows[name] and weight[name] > 0]


def _add_unweighted(totals: Totals, sequences: Seq[Sequence]) -> None:
    """Add the entropy sums of the rollouts without a forward pass.

    The negative log-probability of a sampled token is an unbiased estimate of the sampling entropy. Omitting these
    rollouts would hide a collapse, since identical rollouts are the first to get zero weight.
    """
    for s in sequences:
        totals["sampled_tokens"] += len(s.old_logprobs or [])
        totals["entropy"] -= sum(s.old_logprobs or [])


def _exhausts_memory(error: Exception) -> bool:
    """Whether smaller passes may succeed; torch, cuBLAS and Triton raise different types."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or is_out_of_memory(str(error))


def _norm(gradients: list[Tensor]) -> float:
    return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))))

"""Mutation tests of the method (`make mutants`): the tests that fail when one line of the library is broken.

Each mutant is a copy of the library with one line altered: in the objective, coefficients, advantages, learner, packed
batches, attention, layers or head. The exit status is 1 if a mutant survives.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

ROOT = Path(__file__).parent.parent
TESTS = ["objective", "batching", "model/cpu", "model/test_lm_head.py", "model/test_layout_check.py"]
TESTS += ["training/test_learning.py", "training/test_rollout_collector.py", "training/test_golden.py"]

MUTANTS = [  # what is broken, file, line, its replacement
    ("SFT's sign", "objective/losses", "return -logprobs.sum() / max(num_tokens, 1)", "return logprobs.sum() / max(num_tokens, 1)"),
    ("SFT's mask", "objective/losses", "logprobs = logprobs.masked_fill(~mask, 0.0)", "pass"),
    ("SFT's denominator", "objective/losses", "-logprobs.sum() / max(num_tokens, 1)", "-logprobs.sum() / max(int(mask.sum()), 1)"),
    ("phi's detach", "objective/losses", "p = logprobs.detach().exp()", "p = logprobs.exp()"),
    ("clip's min", "objective/losses", "return (ratio * w).minimum(clipped * w) * mask", "return (clipped * w) * mask"),
    ("clip left out", "objective/losses", "return (ratio * w).minimum(clipped * w) * mask", "return (ratio * w) * mask"),
    ("surrogate's mask", "objective/losses", "return (ratio * w).minimum(clipped * w) * mask", "return (ratio * w).minimum(clipped * w)"),
    ("ratio's mask", "objective/losses", "(logprobs - old_logprobs).masked_fill(~mask, 0.0).exp()", "(logprobs - old_logprobs).exp()"),
    ("weights' detach", "objective/losses", "w = weights.detach()[:, None]", "w = weights[:, None]"),
    ("clip's upper bound", "objective/losses", "clipped = ratio.clamp(1 - clip_low, 1 + clip_high)\n    w = weights.detach()[:", "clipped = ratio.clamp(1 - clip_low, 1 + clip_low)\n    w = weights.detach()[:"),
    ("GSPO's min", "objective/losses", "return (ratio * w).minimum(clipped * w) * (lengths > 0)", "return ratio * w * (lengths > 0)"),
    ("GSPO's detach", "objective/losses", "w = weights.detach()\n", "w = weights\n"),
    ("GSPO's length", "objective/losses", ".sum(dim=1) / lengths.clamp(min=1)\n    ratio", ".sum(dim=1)\n    ratio"),
    ("GRPO's rows", "objective/losses", "mask = batch.completion_mask & batch.explored[:, None]", "mask = batch.completion_mask"),
    ("GRPO's sign", "objective/losses", "return -per_rollout.sum() / max(counts.grpo_tokens, 1)", "return per_rollout.sum() / max(counts.grpo_tokens, 1)"),
    ("DAPO's denominator", "objective/losses", "-per_rollout.sum() / max(counts.grpo_tokens, 1)", "-per_rollout.sum() / max(int(mask.sum()), 1)"),
    ("Dr. GRPO's denominator", "objective/losses", "return -per_rollout.sum() / (R * max_length)", "return -per_rollout.sum() / R"),
    ("KL's sign", "objective/losses", "per_rollout = (surrogate - kl).sum(dim=1)", "per_rollout = (surrogate + kl).sum(dim=1)"),
    ("KL's direction", "objective/losses", "delta = (ref_logprobs - logprobs)", "delta = (logprobs - ref_logprobs)"),
    ("k1's gradient", "objective/losses", "return k2 + (-delta - k2).detach()", "return -delta"),
    ("ADV's rows", "objective/losses", "mask = batch.completion_mask & batch.compared[:, None]", "mask = batch.completion_mask"),
    ("ADV's sign", "objective/losses", 'case "seq_sum":\n            return -per_rollout', 'case "seq_sum":\n            return per_rollout'),
    ("ADV's denominator", "objective/losses", "N = max(counts.adv_rollouts, 1)", "N = max(int(batch.compared.sum()), 1)"),
    ("coefficient's detach in reinforce", "objective/losses", "batch.coef.detach()[:, None]", "batch.coef[:, None]"),
    ("alpha's complement", "objective/losses", '"grpo": 1 - weights.alpha', '"grpo": 1.0'),
    ("lambda", "objective/losses", '"adv": weights.lambda_adv', '"adv": 1.0'),
    ("coefficient's detach", "objective/adversarial", "scores.detach().double() * scale", "scores.double() * scale"),
    ("score's scale", "objective/adversarial", "scores.detach().double() * scale", "scores.detach().double()"),
    ("leave-one-out's factor", "objective/adversarial", "centred * n / (n - 1).clamp(min=1)", "centred"),
    ("coefficient's clip", "objective/adversarial", "coef.clamp(-options.coef_clip, options.coef_clip)", "coef"),
    ("missing scores", "objective/adversarial", "torch.where(known & (n > 1), centred * n / (n - 1).clamp(min=1), NAN)", "centred * n / (n - 1).clamp(min=1)"),
    ("bt_margin's baseline", "objective/adversarial", "coef = _less_baseline(margin, options, baseline)", "coef = margin"),
    ("advantage's centre", "objective/advantages", "torch.where(known, values - mean, 0)", "torch.where(known, values, 0)"),
    ("advantage's scale", "objective/advantages", "centred = centred / (std + eps)", "pass"),
    ("missing rewards", "objective/advantages", "known = values.isfinite()", "known = torch.ones_like(values).bool()"),
    ("temperature of rollouts", "training/learner", "torch.where(batch.sampled, spec.rollout.temperature, 1.0)", "torch.where(batch.sampled, 1.0, 1.0)"),
    ("counts of the step", "training/learner", "Counts.of(sequences)", "Counts.of(sequences[:1])"),
    ("a norm's mean", "model/cpu/norm_mlp", "unit, mean, value=-1", "unit, mean, value=0"),
    ("what a norm adds to the mean", "model/cpu/norm_mlp", ".add_(eps)", ""),
    ("gradient of a norm's weight", "model/cpu/norm_mlp", "along.flatten(0, -2)", "outer.flatten(0, -2)"),
    ("gradient of a gate", "model/cpu/norm_mlp", "inner.mul_(up), gate", "inner, gate"),
    ("gradient of a gate's other half", "model/cpu/norm_mlp", "opened.mul_(inner)", "opened"),
    ("gradient of what follows a gate", "model/cpu/norm_mlp", "(opened * up).flatten(0, -2)", "up.flatten(0, -2)"),
    ("another activation", "model/cpu/norm_mlp", " and type(module.act_fn) is SILU", ""),
    ("rows left out", "batching/batch", "self.advantage is not None and (self.advantage != 0 or kl_penalty)", "bool(self.advantage)"),
    ("combined weight", "batching/batch", "or (weights.lambda_adv > 0 and bool(self.coef))", ""),
    ("branches apart", "batching/packed", "(branch[row, key] == 0) | (branch[row, key] == branch[row, query])", "branch[row, key] >= 0"),
    ("trees apart", "batching/packed", "return same_tree & on_path", "return on_path"),
    ("order within a branch", "batching/packed", "same_tree & on_path & (key <= query)", "same_tree & on_path"),
    ("a branch's positions", "batching/packed", "(token, P + at, t, b)", "(token, at, t, b)"),
    ("a branch's first token", "batching/packed", "[fork, *range(start, start + n - 1)]", "[start - 1, *range(start, start + n - 1)]"),
    ("a branch attends to its prompt", "model/cpu/tree_attention", "else [prompt, segment]", "else [segment]"),
    ("a branch attends to its beginning", "model/cpu/tree_attention", "else [prompt, segment]", "else [prompt, queries]"),
    ("order within a block", "model/cpu/tree_attention", "triu_(1)", "triu_(n)"),
    ("scale of the queries' gradient", "model/cpu/tree_attention", "torch.bmm(grad, k) * ctx.scale", "torch.bmm(grad, k)"),
    ("sum over blocks", "model/cpu/tree_attention", "total[0, :, tokens] += part", "total[0, :, tokens] = part"),
    ("a layer's bias", "model/cpu/linear", "weight, bias, \"none\"", "weight, None, \"none\""),
    ("gradient of a layer's input", "model/cpu/linear", "product(outer, weight.T)", "product(outer, weight.T) * 2"),
    ("gradient of a layer's weight", "model/cpu/linear", "rows.T @", "-rows.T @"),
    ("a branch's gradient of keys", "model/cpu/tree_attention", "torch.bmm(grad.mT, q)", "torch.bmm(weights.mT, q)"),
    ("a branch's gradient of values", "model/cpu/tree_attention", "torch.bmm(weights.mT, o)", "torch.bmm(grad.mT, o)"),
    ("the kept chunk, not used", "model/lm_head", "last, ctx.last = ctx.last, None", "last, ctx.last = None, None"),
    ("temperature of logits", "model/lm_head", "logits.div_(temperature)", "logits"),
    ("temperature of the gradient", "model/lm_head", "(outer / temperature)", "outer"),
    ("sign of the gradient", "model/lm_head", "mul_(-scale[part])", "mul_(scale[part])"),
    ("tokens of a chunk", "model/lm_head", "gather(-1, token_ids[part, None])", "gather(-1, token_ids.flip(0)[part, None])"),
    ("the kept chunk, overwritten", "model/lm_head", "last, ctx.last = ctx.last, None", "last = ctx.last"),
    ("sum over chunks", "model/lm_head", "total.addmm_(a, b)", "total.copy_(a @ b)"),
    ("prompts in other tiles", "model/attention", "(prompt | _overlap(b0, b1))", "_overlap(b0, b1)"),
    ("tiles of other trees", "model/attention", "earlier & _overlap(t0, t1) &", "earlier &"),
    ("order within a whole tile", "model/attention", "earlier.tril(-1) & one_tree", "earlier & one_tree"),
    ("other branches in a whole tile", "model/attention", "& one_tree & on_path", "& one_tree"),
    ("padding among trees", "model/attention", "torch.where(tree < 0, tree.amax(dim=1, keepdim=True) + 1, tree)", "tree"),
    ("the budget of tiles", "batching/packing", "max_tokens = max(max_tokens // BLOCK, 1) * BLOCK", "pass"),
    ("memory that runs out in the check", "model/layout_check", "except torch.OutOfMemoryError:\n        raise", "except torch.OutOfMemoryError:\n        return None"),
    ("schedules", "training/learner", "self._spec.weights_at(step)", "self._spec.weights_at(0)"),
]  # fmt: skip


def main() -> int:
    """Run the tests against every mutant; returns the exit status."""
    survivors = 0
    with ThreadPoolExecutor(2) as pool:  # each waits for a process with one thread
        results = pool.map(lambda mutant: run(*mutant[1:]), MUTANTS)
        for (label, module, *_), killers in zip(MUTANTS, results, strict=True):
            survivors += not killers
            print(f"{label:36} {module + '.py':28} {', '.join(killers) or 'SURVIVES'}", flush=True)
    print(f"{len(MUTANTS) - survivors} of {len(MUTANTS)} mutants are detected")
    return 1 if survivors else 0


def run(module: str, line: str, replacement: str) -> list[str]:
    """Names of the tests that fail with the line replaced."""
    with TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("uniapl", "store", "worker", "tests", "examples"):
            shutil.copytree(ROOT / name, copy / name)
        (copy / "data").symlink_to(ROOT / "data")
        shutil.copy(ROOT / "pyproject.toml", copy)
        path = copy / "uniapl" / f"{module}.py"
        source = path.read_text()
        if source.count(line) != 1:
            raise SystemExit(f"{path.name} holds {source.count(line)} times: {line}")
        path.write_text(source.replace(line, replacement))
        tests = [f"tests/uniapl/{name}" for name in TESTS]
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-m",
            "unit or integration or full",
            "-q",
            "--tb=no",
            "-p",
            "no:cacheprovider",
            *tests,
        ]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(copy)}
        result = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    if result.returncode not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise SystemExit(f"the tests did not run:\n{result.stdout[-2000:]}")
    failed = re.findall(r"^(?:FAILED|ERROR) tests/uniapl/[\w/]+\.py::(\w+)", result.stdout, flags=re.MULTILINE)
    return list(dict.fromkeys(failed))


if __name__ == "__main__":
    sys.exit(main())

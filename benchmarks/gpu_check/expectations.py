"""Expected ranges of the figures, by phase and figure; `phase/figure@cuda` applies on a GPU only."""

from __future__ import annotations

from benchmarks.gpu_check.figures import Expected


def _yes(means: str) -> Expected:
    return Expected(1, 1, means=means)


def _no(means: str) -> Expected:
    return Expected(0, 0, means=means)


def _most(most: float, means: str, red_above: float | None = None) -> Expected:
    return Expected(most=most, red_above=red_above, means=means)


_RECOMPILES = _no("a function is compiled for too many shapes; it then runs without a kernel, and much slower")
_UNNOTICED = "the weights hardly change, so old ones would pass unnoticed"

TABLE: dict[str, Expected] = {
    "environment/is the device checked": _yes("the trainer of this machine computes on another device"),
    "environment/compiler found": Expected(1, 1, red_below=0, means="no C compiler: blocks cannot be compiled"),
    "environment/listed by NVML": Expected(1, 1, red_below=0, means="the worker finds no GPU: nvidia-ml-py or NVML"),
    "environment/capability": Expected(least=8.0, means="bfloat16 needs compute capability 8.0"),
    "environment/free": Expected(0.95, 1, red_below=0.5, means="another process uses the card's memory"),
    "environment/without TF32": _yes("float32 products are TF32: the layout check may refuse the shared layout"),
    "environment/difference": _most(1e-5, "float32 products are not float32"),
    "gradients/falls back": _no("the shared layout is refused: prompts are computed once per completion"),
    "gradients/logprob difference": _most(1e-4, "the shared layout computes another function: mask or positions"),
    "gradients/gradient difference": _most(1e-4, "the backward of FlexAttention is wrong", 1e-3),
    "gradients/mean logprob error": _most(0.02, "bfloat16 products lose more than rounding", 0.1),
    "gradients/gradient error": _most(0.03, "bfloat16 gradients lose more than rounding", 0.1),
    "gradients/gradient error over plain's": _most(1.2, "the shared layout rounds more than the plain one", 2),
    "gradients/graphs": _most(8, "FlexAttention is compiled for more shapes than it has variants", 20),
    "gradients/limit hits": _RECOMPILES,
    "gradients/head error": _most(2e-3, "logits are rounded to bfloat16", 0.02),
    "first_steps/loss difference": _most(0.02, "recomputed or compiled blocks compute another loss", 0.1),
    "first_steps/norm difference": _most(0.02, "recomputed or compiled blocks compute another gradient", 0.1),
    "first_steps/finite": _yes("a loss, norm or metric is not finite"),
    "first_steps/fails": _yes("the control passes, so this phase shows nothing about donated buffers"),
    "first_steps/first step s@cuda": _most(60, "compiling takes longer than expected", 90),
    "first_steps/limit hits": _RECOMPILES,
    "speed/falls back": _no("the shared layout is refused: prompts are computed once per completion"),
    "speed/over the estimate": Expected(
        0.95, 1.05, 0.8, 1.25, means="the estimate's formula of activations is wrong: passes are too long, or too short"
    ),
    "speed/kernels@cuda": Expected(1000, 8000, 0, 20_000, means="many small kernels: the host limits the speed"),
    "speed/busy@cuda": Expected(least=0.8, red_below=0.4, means="the GPU waits for the host"),
    "speed/other@cuda": Expected(most=0.15, red_above=1, means="kernels of unknown names: extend the table of kinds"),
    "speed/moments out s@cuda": _most(1, "AdamW's moments leave the card slower than page-locked memory allows", 10),
    "speed/moments back s@cuda": _most(1, "AdamW's moments return slower than page-locked memory allows", 10),
    "speed/moments freed@cuda": Expected(0.95, 1.05, means="AdamW's moments stay on the card while it samples"),
    "speed/moments same": _yes("moving AdamW's moments changes them"),
    "sampling/bytes per frozen weight": Expected(2, 2, means="frozen weights are float32: cast at every use"),
    "sampling/finite": _yes("a score is not finite"),
    "sampling/MFU of scoring@cuda": Expected(
        least=0.2, red_below=0.08, means="the discriminator computes in float32, or waits for the host"
    ),
    "sampling/ms per token@cuda": _most(50, "the host needs longer per kernel than expected", 150),
    "sampling/mean difference": _most(0.03, "sampler and trainer compute in different precisions", 0.1),
    "sampling/max difference": _most(0.5, "sampler and trainer compute different functions", 2),
    "sampling/falls back": _no("the shared layout is refused: prompts are computed once per completion"),
    "learning/exit status": _no("the run failed; its log is in this group"),
    "learning/reward at first@cuda": Expected(
        0.1, 0.25, 0.05, 0.5, means="the first samples differ from the reference"
    ),
    "learning/reward at first@cpu": Expected(0.05, 0.35, means="the first samples differ from the reference"),
    "learning/reward at last": Expected(
        0.95, 1, red_below=0.8, means="flat: the gradient is wrong; NaN: the run ended"
    ),
    "learning/step s@cuda": _most(0.3, "small kernels take longer than expected", 2),
    "vllm_sampler/mean difference@cuda": _most(0.03, "the server has other weights, or computes less exactly", 0.1),
    "vllm_sampler/mean difference@cpu": _most(1e-3, "the server has other weights"),
    "vllm_sampler/falls back": _no("the shared layout is refused: prompts are computed once per completion"),
    "vllm_sampler/moved@cuda": Expected(least=0.1, means=_UNNOTICED),
    "vllm_sampler/moved@cpu": Expected(least=0.02, means=_UNNOTICED),
    "vllm_sampler/on the card@cuda": Expected(
        1, 1, red_below=0, means="weights go through the host: read the warnings"
    ),
    "vllm_sampler/hand-over s@cuda": _most(2, "slower than the target for 0.6B", 10),
    "vllm_sampler/freed of the share@cuda": Expected(0.7, 1.2, 0.4, 1.5, means="a sleeping server keeps memory"),
    "vllm_sampler/sleep s@cuda": _most(3, "sleeping takes longer than expected", 20),
    "vllm_sampler/wake and hand-over s@cuda": _most(4, "waking takes longer than expected", 20),
    "vllm_sampler/tokens/s@cuda": Expected(
        least=5000, red_below=1000, means="the server samples slower than a 0.6B model of this memory should"
    ),
    "vllm_sampler/failed probes": _no("a healthy server under load is killed by its probe"),
    "other_card/group of one@cuda": _yes(
        "NCCL cannot be loaded or called: weights for another card go through the host"
    ),
    "other_card/mean difference@cuda": _most(0.03, "the server has other weights, or computes less exactly", 0.1),
    "other_card/falls back": _no("the shared layout is refused: prompts are computed once per completion"),
    "other_card/moved@cuda": Expected(least=0.1, means=_UNNOTICED),
    "other_card/on the card@cuda": Expected(1, 1, red_below=0, means="weights go through the host: read the warnings"),
    "other_card/hand-over s@cuda": _most(2, "slower than the target for 0.6B", 10),
    "out_of_memory/raised": _yes("an allocation beyond the limit raises no torch.OutOfMemoryError"),
    "out_of_memory/recognised": _yes("the trainer does not repeat an update that ends with this text"),
    "out_of_memory/classified": _yes("the worker reports this text as another failure than out_of_memory"),
    "out_of_memory/continues": Expected(1, 1, red_below=0, means="an update without memory fails the attempt"),
    "out_of_memory/norm difference": _most(0.02, "the repeated update has another gradient", 0.1),
    "out_of_memory/freed": _yes("memory of the failed update is still in use after the next one"),
    "three_terms/exit status": _no("the run failed; its log is in this group"),
    "three_terms/loss_sft at first@cuda": Expected(9.3, 10.4, 8.5, 11, means="the loss of random weights is known"),
    "three_terms/loss_sft at first@cpu": Expected(10.2, 10.7, means="the loss of random weights is known"),
    "three_terms/loss_sft at last@cuda": Expected(2, 4.5, 1, 7.1, means="imitation learns slower than the reference"),
    "three_terms/loss_sft at last@cpu": Expected(8.5, 10, means="imitation learns slower than the reference"),
    "three_terms/terms measured": Expected(3, 3, means="a term is not part of the step"),
    "three_terms/loss difference@cuda": _most(0.05, "a resumed run continues in another state", 0.5),
    "three_terms/loss difference@cpu": _no("a resumed run is not the same bit for bit"),
}


def ranges(phase: str, device: str) -> dict[str, Expected]:
    """Ranges of a phase's figures on a device, by name."""
    found: dict[str, Expected] = {}
    for key, expected in TABLE.items():
        owner, _, rest = key.partition("/")
        name, _, only = rest.partition("@")
        if owner == phase and only in ("", device):
            found[name] = expected
    return found

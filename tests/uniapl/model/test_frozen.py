"""Frozen weights in the precision of products: LoRA on a GPU, run on a CPU (`benchmarks.cuda_on_cpu`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import Qwen3Config, Qwen3ForCausalLM

from benchmarks.cuda_on_cpu import emulate_cuda
from tests.compiler_warnings import COMPILER_WARNINGS
from tests.conftest import MODELS
from uniapl.batching.batch import Sequence
from uniapl.batching.packed import PackedBatch, pack
from uniapl.batching.packing import Layout
from uniapl.model.block_wrappers import wrap_blocks
from uniapl.model.layout_check import disagreement
from uniapl.model.logprobs import completion_logprobs, precision
from uniapl.model.lora import load_adapter, save_merged, with_lora
from uniapl.model.policy import Policy, Reference, load_policy
from uniapl.run.config import ModelSource
from uniapl.spec.training import Lora, Resources

pytestmark = [pytest.mark.integration, *COMPILER_WARNINGS]
CPU = torch.device("cpu")
BUNDLED = ModelSource(path=str(MODELS / "tiny-random-llama"))


@pytest.fixture(autouse=True)
def emulated() -> Iterator[None]:
    with emulate_cuda():
        yield


def adapted(policy: Policy) -> Policy:
    """The student with adapters that change its outputs."""
    found = with_lora(policy, Lora(rank=4), seed=0)
    draw = torch.Generator().manual_seed(1)
    for name, parameter in found.model.named_parameters():
        if "lora_B" in name:
            parameter.data.copy_(0.1 * torch.randn(parameter.shape, generator=draw))
    return found


def in_float32(policy: Policy) -> Policy:
    """The same with all weights in float32."""
    with emulate_cuda(precision=torch.float32):
        return adapted(policy)


def bundled() -> Policy:
    return load_policy(BUNDLED, CPU)


def half() -> Policy:
    """The bundled student with weights that bfloat16 represents, as most students are published."""
    policy = bundled()
    policy.model.bfloat16().float()
    return policy


def untied(layers: int = 2) -> Policy:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"vocab_size": 97, "hidden_size": 64, "intermediate_size": 96, "head_dim": 16}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": False, "pad_token_id": None}
    tokenizer: Any = SimpleNamespace(pad_token_id=0, eos_token_id=0)
    return Policy(Qwen3ForCausalLM(Qwen3Config(**sizes, **heads, num_hidden_layers=layers)).eval(), tokenizer)


STUDENTS = {"bundled": bundled, "half": half, "untied": untied}


def packed(kind: str = "blocks") -> PackedBatch:
    layout = Layout(kind)  # type: ignore[arg-type]
    (found,) = pack([Sequence([5] * 500, [7] * n) for n in (1, 2, 3)], 10_000, 0, CPU, layout)
    return found


def measured(policy: Policy, kind: str) -> tuple[Tensor, list[Tensor]]:
    with precision(CPU):
        logprobs, _ = completion_logprobs(policy.model, packed(kind), temperature=1.0)
    return logprobs.detach(), list(torch.autograd.grad(logprobs.sum(), trained(policy)))


def trained(policy: Policy) -> list[Tensor]:
    return [p for p in policy.model.parameters() if p.requires_grad]


@pytest.mark.parametrize(("make", "kind"), [(bundled, "plain"), (untied, "blocks")])
def test_frozen_weights_are_in_bfloat16_with_the_same_outputs_and_gradients(make: Any, kind: str) -> None:
    policy, like = adapted(make()), in_float32(make())
    student = policy.model.get_base_model()
    frozen = [m.get_base_layer().weight for m in student.modules() if isinstance(m, LoraLayer)]
    assert {weight.dtype for weight in frozen} == {torch.bfloat16}
    assert {p.dtype for p in trained(policy)} == {torch.float32}
    shared = student.config.tie_word_embeddings
    assert student.get_output_embeddings().weight.dtype == (torch.float32 if shared else torch.bfloat16)
    assert student.get_input_embeddings().weight.dtype == torch.float32
    found, expected = measured(policy, kind), measured(like, kind)
    assert torch.equal(found[0], expected[0])
    assert all(torch.equal(a, b) for a, b in zip(found[1], expected[1], strict=True))
    with precision(CPU):
        references = [Reference(p.model, adapted=True).logprobs(packed(kind), temperature=1) for p in (policy, like)]
    assert torch.equal(*references)
    assert not torch.equal(references[0], found[0])
    assert disagreement(policy, Layout("blocks")) is None


@pytest.mark.parametrize("make", STUDENTS.values(), ids=STUDENTS)
def test_an_export_has_every_bit_of_the_stored_weights(make: Any, tmp_path: Path) -> None:
    policy, like = adapted(make()), in_float32(make())
    save_merged(policy.model, tmp_path / "half")
    save_merged(like.model, tmp_path / "exact")
    for name in ("model.safetensors", "config.json", "adapter/adapter_model.safetensors"):
        assert (tmp_path / "half" / name).read_bytes() == (tmp_path / "exact" / name).read_bytes(), name
    resumed = with_lora(make(), Lora(rank=4), seed=5)
    load_adapter(resumed.model, tmp_path / "half")
    assert torch.equal(measured(resumed, "rows")[0], measured(policy, "rows")[0])


class _Operators(TorchDispatchMode):
    """Counts casts of matrices, and the bytes that casts to float32 write."""

    def __init__(self, shapes: set[torch.Size]) -> None:
        super().__init__()
        self.weights, self.widened, self._shapes = 0, 0, shapes

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default:
            self.weights += out.shape in self._shapes
            self.widened += out.dtype == torch.float32 and out.shape in self._shapes
        return out


def test_a_forward_without_gradient_casts_no_frozen_weight() -> None:
    counts = []
    for policy in (in_float32(bundled()), adapted(bundled())):
        layers = [m for m in policy.model.modules() if isinstance(m, LoraLayer)]
        with torch.no_grad(), precision(CPU), _Operators({m.get_base_layer().weight.shape for m in layers}) as counted:
            policy.model(torch.tensor([[3, 1, 4]]), use_cache=False)
        counts.append(counted.weights)
    assert counts[0] >= len(layers)
    assert counts[1] == 0


def test_adapters_read_their_input_without_a_copy_in_float32() -> None:
    """The input of the projections after attention and after the gate is in bfloat16 already."""
    policy = adapted(untied(layers=1))
    copied = []
    for layer in (m for m in policy.model.modules() if isinstance(m, LoraLayer)):
        layer.lora_A["default"].register_forward_pre_hook(lambda _, args: copied.append(args[0].dtype))
    with precision(CPU):
        completion_logprobs(policy.model, packed(), temperature=1.0)
    assert copied.count(torch.bfloat16) == 2
    assert saved_bytes(policy) < saved_bytes(in_float32(untied(layers=1)))


def saved_bytes(policy: Policy) -> int:
    """Bytes of the tensors that the backward of a forward needs, without parameters."""
    own = {p.untyped_storage().data_ptr() for p in policy.model.parameters()}
    found: dict[int, Tensor] = {}

    def hook(tensor: Tensor) -> Tensor:
        if (at := tensor.untyped_storage().data_ptr()) not in own:
            found.setdefault(at, tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(hook, lambda tensor: tensor), precision(CPU):
        completion_logprobs(policy.model, packed(), temperature=1.0)[0].sum()
    return sum(tensor.untyped_storage().nbytes() for tensor in found.values())


@pytest.mark.full
def test_compiled_blocks_train_adapters_of_frozen_weights() -> None:
    policy = adapted(untied())
    expected = measured(policy, "blocks")
    wrap_blocks(policy.model, Resources(compile_blocks=True, gradient_checkpointing=True))
    found = measured(policy, "blocks")
    assert torch.allclose(found[0], expected[0], atol=0.02)
    assert all(torch.allclose(a, b, atol=0.05, rtol=0.05) for a, b in zip(found[1], expected[1], strict=True))
    assert disagreement(policy, Layout("blocks")) is None

"""The policy: a student with its tokenizer, and how it is loaded.

Weights come from safetensors or GGUF only, and no code of a model repository is ever run.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from uniapl.batching.packed import PackedBatch
from uniapl.batching.packing import PLAIN, Layout
from uniapl.chat.decoding import decode
from uniapl.chat.end_of_turn import find_end_of_turn
from uniapl.chat.template import set_template
from uniapl.errors import ModelError
from uniapl.model.config import load_configs
from uniapl.model.frozen import round_frozen
from uniapl.model.kernels import kernels_for
from uniapl.model.logprobs import completion_logprobs
from uniapl.run.config import ModelSource
from uniapl.run.out_of_memory import is_out_of_memory

ALIGNMENT = 64
"""Alignment in bytes of memory that torch allocates on the CPU."""
LOAD_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    ImportError,
    SafetensorError,
    StrictDataclassError,
)
"""Errors of transformers for a model that is missing, damaged, or of an unknown kind, or for values in its files."""


def load_problem(source: ModelSource, error: Exception) -> str:
    """Why a model could not be loaded, in one line; transformers would treat a missing folder as a hub id."""
    where = Path(source.hub or source.path or "")
    is_missing = (source.path is not None or where.is_absolute()) and not where.exists()
    if is_missing:
        return "the folder does not exist"
    lines = str(error).splitlines()
    if not lines:
        return type(error).__name__
    return f"{lines[0]} {lines[1].strip()}" if lines[0].endswith(":") and len(lines) > 1 else lines[0]


@dataclass(frozen=True)
class Policy:
    """The student in training."""

    model: Any
    """A `PreTrainedModel`, or the `PeftModel` around one."""
    tokenizer: PreTrainedTokenizerBase
    layout: Layout = PLAIN
    """Layout of its sequences in a forward."""
    stored_dtype: torch.dtype = torch.float32
    """Data type that the student's files declare; its weights are trained in float32."""

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return torch.device(self.model.device)

    @property
    def pad_id(self) -> int:
        """Padding token, or the end token where there is none; padding is masked everywhere."""
        pad = self.tokenizer.pad_token_id
        return int(pad if pad is not None else self.tokenizer.eos_token_id)

    @property
    def stop_ids(self) -> list[int]:
        """Tokens that end a completion: the declared ones, and the chat template's end of turn."""
        try:
            return sorted({*self._declared_stop_ids, self.end_of_turn})
        except Exception:  # noqa: BLE001  # of a broken template, which is reported when rows are encoded
            return self._declared_stop_ids

    @property
    def end_of_turn(self) -> int:
        """The token that ends an answer in the chat template; the tokenizer's end token where the template has none.

        Raises as `find_end_of_turn`.
        """
        if self.tokenizer.chat_template is None:
            return int(self.tokenizer.eos_token_id)
        found = find_end_of_turn(self.tokenizer, self._declared_stop_ids)
        return int(self.tokenizer.eos_token_id) if found.token is None else found.token

    @property
    def _declared_stop_ids(self) -> list[int]:
        """End tokens of the generation config and of the tokenizer."""
        declared = self.model.generation_config.eos_token_id if self.model.generation_config else None
        ids = declared if isinstance(declared, list) else [] if declared is None else [declared]
        return sorted({int(self.tokenizer.eos_token_id), *ids})

    def declare_end_of_turn(self) -> str | None:
        """Add the end of turn to the end tokens of the generation config, which checkpoints contain.

        Returns:
            Why the end tokens were not those of the template, in a sentence; `None` where they were.
        """
        declared = self._declared_stop_ids
        found = find_end_of_turn(self.tokenizer, declared)
        is_new = found.token is not None and found.token not in declared
        if is_new and self.model.generation_config is not None:
            self.model.generation_config.eos_token_id = [*declared, found.token]
        return found.problem(self.tokenizer, declared)

    def text(self, completion_ids: list[int]) -> str:
        """A completion as text, without special tokens other than those of reasoning blocks."""
        return decode(self.tokenizer, completion_ids)


@dataclass(frozen=True)
class Reference:
    """The student before the job's first step, the reference of the KL penalty."""

    model: Any
    """A separate model, or the policy's model, whose adapters are then disabled."""
    adapted: bool

    @torch.no_grad()
    def logprobs(self, packed: PackedBatch, *, temperature: Tensor | float) -> Tensor:  # (B, C)
        """Log-probability of each completion token; see `completion_logprobs`."""
        with self.model.disable_adapter() if self.adapted else nullcontext():
            return completion_logprobs(self.model, packed, temperature=temperature)[0]


def with_chat_template(policy: Policy, template: str) -> Policy:
    """Set the tokenizer's chat template, which checkpoints then contain; `plain` names `PLAIN_TEMPLATE`.

    The template keeps the token that a student's tokenizer puts before every text.
    """
    set_template(policy.tokenizer, template)
    return policy


def load_reference(source: ModelSource, device: torch.device) -> Reference:
    """Load a student as a reference, frozen, with the weights of its linear layers in the precision of products.

    Raises:
        ModelError: as `load_policy`.
    """
    model = load_policy(source, device).model.requires_grad_(False)
    round_frozen(model, keep_exact=False)
    return Reference(model, adapted=False)


def load_policy(source: ModelSource, device: torch.device) -> Policy:
    """Load a student in float32.

    Raises:
        ModelError: the model is missing, is not a causal language model, or has no end token.
    """
    where, options = _location(source)
    try:
        known = {} if source.gguf else load_configs(where, options) | {"use_safetensors": True}
        tokenizer = AutoTokenizer.from_pretrained(where, config=known.get("config"), trust_remote_code=False, **options)
        stored = _declared_dtype(known.get("config"))  # transformers sets the config's to float32
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            where, dtype=torch.float32, trust_remote_code=False, output_loading_info=True, **options, **known
        )
    except (*LOAD_ERRORS, RuntimeError) as error:
        if is_out_of_memory(str(error)):
            raise
        raise ModelError(
            f"cannot load {source.hub or source.path}: {load_problem(source, error)}",
            param="student",
            hint="provide a config, a tokenizer, and weights as safetensors or GGUF",
        ) from error
    model, report = loaded
    if source.gguf is None and (missing := sorted(report["missing_keys"])):
        raise ModelError(
            f"cannot load {source.hub or source.path}: its files lack {len(missing)} weights of "
            f"{type(model).__name__}, such as {missing[0]}, which would be random numbers",
            param="student",
            hint="provide all weights, or a config whose `architectures` and `model_type` are those of the weights",
        )
    if tokenizer.eos_token_id is None:
        raise ModelError("the student's tokenizer has no end-of-sequence token", param="student")
    if source.gguf is not None:
        model = _without_quantization(model)
    _own_weights(model)
    model.to(device)
    kernels_for(device).prepare_model(model)
    model.eval()  # no dropout: the trained policy must equal the one that sampled
    return Policy(model, tokenizer, stored_dtype=stored)


def _declared_dtype(config: Any) -> torch.dtype:
    """Floating-point type of a config's weights; float32 where it declares none."""
    dtype = getattr(config, "dtype", None)
    return dtype if isinstance(dtype, torch.dtype) and dtype.is_floating_point else torch.float32


def _own_weights(model: PreTrainedModel) -> None:
    """Copy memory-mapped weights that are not aligned as torch allocates.

    The last bits of a product can depend on the alignment, and the files of student and checkpoint differ in it, so
    that a resumed run would diverge from an uninterrupted one.
    """
    for weight in model.parameters():
        if weight.data_ptr() % ALIGNMENT:
            weight.data = weight.data.clone()


def _location(source: ModelSource) -> tuple[str, dict[str, Any]]:
    if source.hub is not None:
        return source.hub, {"revision": source.revision}
    assert source.path is not None
    return source.path, {"gguf_file": source.gguf} if source.gguf else {}


def _without_quantization(model: PreTrainedModel) -> PreTrainedModel:
    """The same weights in a model that can be saved; transformers refuses to save one loaded from GGUF."""
    config = model.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    fresh: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    fresh.load_state_dict(model.state_dict())
    fresh.generation_config = model.generation_config
    return fresh

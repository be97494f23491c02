"""Cache of prompt embeddings: encoded once for each prompt, outside the frame, the last 32 kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

KEPT = 32


@dataclass(frozen=True, eq=False)
class Condition:
    """Embeddings of a prompt.

    tensors: the prompt arguments of the network, by name. cut: the words that were left out. negative: the
    same tensors for the empty prompt, where there is guidance.
    """

    tensors: dict[str, Tensor]
    cut: str = ""
    negative: dict[str, Tensor] | None = None

    @property
    def unprompted(self) -> dict[str, Tensor]:
        """`negative`; set only where there is guidance."""
        assert self.negative is not None
        return self.negative


class PromptCache:
    """Encode prompts and keep the most recent results.

    encode: text -> Condition.
    """

    def __init__(self, encode: Callable[[str], Condition]):
        self.encode = encode
        self._kept: OrderedDict[str, Condition] = OrderedDict()
        self.encoded = 0  # number of prompts that were not in the cache

    def __call__(self, text: str) -> Condition:
        if text in self._kept:
            self._kept.move_to_end(text)
            return self._kept[text]
        self.encoded += 1
        self._kept[text] = condition = self.encode(text)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return condition


def cut_words(tokenizer, text: str, most: int) -> str:
    """Return the end of a prompt beyond the `most` tokens of an encoder; empty where all of it fits."""
    tokens = tokenizer(text, add_special_tokens=True).input_ids
    if len(tokens) <= most:
        return ""
    return tokenizer.decode(tokens[most - 1 :], skip_special_tokens=True).strip() or "..."


def cut_message(tokenizer, text: str, most: int) -> str:
    """Return the end of a prompt that an encoder of chat messages of `most` tokens in all does not see."""
    told = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
    )
    before = tokenizer(told.partition(text)[0]).input_ids if text else []
    lost = tokenizer(text, add_special_tokens=False).input_ids[most - len(before) :]
    return tokenizer.decode(lost).strip()

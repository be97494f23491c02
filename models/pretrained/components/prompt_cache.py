"""The prompt's embeddings: made once a prompt, off the frame's path, the last 32 kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

KEPT = 32


@dataclass(frozen=True, eq=False)
class Condition:
    """tensors: what the network is told of the prompt, by the names of its arguments. cut: words left out.

    negative: the same of the empty prompt, where there is guidance.
    """

    tensors: dict[str, Tensor]
    cut: str = ""
    negative: dict[str, Tensor] | None = None

    @property
    def unprompted(self) -> dict[str, Tensor]:
        """`negative`, which is there where there is guidance."""
        assert self.negative is not None
        return self.negative


class PromptCache:
    """encode: text -> Condition."""

    def __init__(self, encode: Callable[[str], Condition]):
        self.encode = encode
        self._kept: OrderedDict[str, Condition] = OrderedDict()
        self.encoded = 0  # how many prompts were not there

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
    """The end of a prompt that an encoder of `most` tokens does not see; empty where it sees all."""
    tokens = tokenizer(text, add_special_tokens=True).input_ids
    if len(tokens) <= most:
        return ""
    return tokenizer.decode(tokens[most - 1 :], skip_special_tokens=True).strip() or "..."


def cut_message(tokenizer, text: str, most: int) -> str:
    """The same of an encoder that is told the prompt as a message of a chat, of `most` tokens in all."""
    told = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
    )
    before = tokenizer(told.partition(text)[0]).input_ids if text else []
    lost = tokenizer(text, add_special_tokens=False).input_ids[most - len(before) :]
    return tokenizer.decode(lost).strip()

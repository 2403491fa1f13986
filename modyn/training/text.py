"""A parser for text: token numbers by a tokenizer of transformers (``pip install 'modyn[text]'``)."""

from functools import lru_cache
from typing import Any

import numpy as np

from modyn.errors import ConfigError, MissingExtra
from modyn.types import Columns


def tokens(columns: Columns, *, tokenizer: str, column: str = "payload", max_length: int = 128) -> dict[str, Any]:
    """``input_ids[n, max_length]`` and ``attention_mask[n, max_length]`` of a column of text or UTF-8 bytes.

    ``tokenizer`` is a folder or hub name that transformers knows. In a pipeline: ``parser: {per_batch: modyn.training.text:tokens,
    options: {tokenizer: distilbert-base-uncased, column: headline}}``.
    """
    texts = [_text(value) for value in columns[column]]
    given = _tokenizer(tokenizer)(texts, padding="max_length", truncation=True, max_length=max_length)
    return {name: np.asarray(given[name], dtype=np.int64) for name in ("input_ids", "attention_mask")}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else bytes(value).decode()


@lru_cache(maxsize=4)
def _tokenizer(name: str) -> Any:
    try:
        import transformers
    except ImportError:
        raise MissingExtra("transformers", extra="text") from None
    try:
        return transformers.AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ConfigError(f"there is no tokenizer '{name}': {str(error).splitlines()[0]}") from None

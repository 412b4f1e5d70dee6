"""Documents' tokens, kept for the next query that asks for the same documents."""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

from tokenizers import Tokenizer

ITEM_BYTES = array("i").itemsize
KEPT_TOKENS = 8 * 1024 * 1024
LONGEST_KEPT = 32 * 1024  # a few huge documents must not push out all others
ENTRY_TOKENS = 64  # what an entry costs beside its tokens, in tokens
# Bytes. Up to 512 Python has memory of its own. What is larger and stays, among activations that
# come and go in malloc's, leaves holes that none of them fits in: 245 MB for 30 MB of tokens.
PIECE = 448


class DocumentTokens:
    """Tokenizes texts, those it does not know. Called from several threads at once."""

    def __init__(self, tokenizer: Tokenizer, most: int = KEPT_TOKENS) -> None:
        self._tokenizer = tokenizer
        self._most = most
        self._kept: OrderedDict[bytes, list[bytes]] = OrderedDict()
        self._tokens = 0
        self._lock = Lock()

    def __call__(self, texts: Sequence[str]) -> list[array[int]]:
        """Token ids of each text, without special tokens."""
        keys = [_key(text) for text in texts]
        found = self._known(keys)
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        if missing:
            encoded = self._tokenizer.encode_batch_fast(
                list(missing.values()), add_special_tokens=False
            )
            fresh = dict(zip(missing, (array("i", item.ids) for item in encoded), strict=True))
            self._keep(fresh)
            found.update(fresh)
        return [found[key] for key in keys]

    @property
    def tokens(self) -> int:
        """What is kept, in tokens, with what the entries cost beside them."""
        return self._tokens

    def _known(self, keys: Sequence[bytes]) -> dict[bytes, array[int]]:
        found = {}
        with self._lock:
            for key in keys:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    found[key] = _joined(self._kept[key])
        return found

    def _keep(self, fresh: dict[bytes, array[int]]) -> None:
        with self._lock:
            for key, ids in fresh.items():
                if len(ids) <= LONGEST_KEPT and key not in self._kept:
                    self._kept[key] = _pieces(ids)
                    self._tokens += len(ids) + ENTRY_TOKENS
            while self._tokens > self._most:
                _, pieces = self._kept.popitem(last=False)
                self._tokens -= sum(map(len, pieces)) // ITEM_BYTES + ENTRY_TOKENS


def _pieces(ids: array[int]) -> list[bytes]:
    whole = ids.tobytes()
    return [whole[start : start + PIECE] for start in range(0, len(whole), PIECE)]


def _joined(pieces: list[bytes]) -> array[int]:
    return array("i", b"".join(pieces))


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()

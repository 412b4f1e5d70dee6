"""API keys: names, digests, a file that changes, and whose a job is."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from api import auth
from api.auth import NOBODY, Keys
from api.problems import Refusal
from rerankq.errors import SettingsError


def refused(keys: Keys, authorization: str | None) -> None:
    with pytest.raises(Refusal) as caught:
        keys.owner(authorization)
    assert caught.value.problem.status == 401
    assert caught.value.headers == {"WWW-Authenticate": "Bearer"}


def test_without_keys_everybody_is_nobody() -> None:
    assert Keys([]).owner(None) == NOBODY


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic right", "right"]
)
def test_a_wrong_key_is_refused(authorization: str | None) -> None:
    refused(Keys(["right"]), authorization)


def test_a_key_owns_by_its_name_or_its_digest() -> None:
    digest = hashlib.sha256(b"three").hexdigest()
    keys = Keys(["one", "ann two", f"bob sha256:{digest}", "ann new-two", "base64=="])
    one, two, three = (keys.owner(f"Bearer {key}") for key in ("one", "two", "three"))
    assert len({one, two, three}) == 3
    assert keys.owner("bearer  new-two") == two, "a key can be changed for another of its name"
    assert keys.owner("Bearer base64==")
    assert "two" not in two
    refused(keys, f"Bearer sha256:{digest}")


@pytest.mark.parametrize(
    "text",
    ["a b c", "näme key", "x" * 65 + " key", "schlüssel", "ann ключ", "\udcff", "a\x01b", "\x7f"],
)
def test_a_key_that_cannot_be_is_refused_and_not_repeated(text: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="RERANKQ_API_KEYS=") as caught:
        Keys([text])
    assert text not in str(caught.value)
    file = tmp_path / "keys"
    file.write_text(f"# ours\n{text}\n", encoding="utf-8", errors="surrogateescape")
    with pytest.raises(SettingsError, match=r"RERANKQ_API_KEYS_FILE=.*(line 2|decode)") as caught:
        Keys([], str(file))
    assert text not in str(caught.value)


def test_a_caller_whose_key_no_key_can_be_is_told_so() -> None:
    keys = Keys(["ascii"])
    for given in ("schlüssel", "schlüssel".encode().decode("latin-1"), "\xff"):
        with pytest.raises(Refusal) as caught:
            keys.owner(f"Bearer {given}")
        assert caught.value.problem.status == 401
        assert "printable ASCII" in caught.value.problem.detail


def test_a_file_as_editors_write_it(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_bytes("\ufeffann one#two\r\n\t# Schlüssel\r\nbob three\t# of Böb\r\n".encode())
    keys = Keys([], str(file))
    assert keys.owner("Bearer one#two") == "name:ann"
    assert keys.owner("Bearer three") == "name:bob"
    refused(keys, "Bearer one")


def test_the_file_is_read_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "FRESH_S", 0)
    file = tmp_path / "keys"
    file.write_text("# ours\nann one  # since May\n\n")
    keys = Keys(["listed"], str(file))
    assert keys.owner("Bearer one") == "name:ann"
    file.write_text("ann two\n")
    assert keys.owner("Bearer two") == "name:ann"
    refused(keys, "Bearer one")
    assert keys.owner("Bearer listed")
    file.write_text("too many words\n")
    assert keys.owner("Bearer two"), "a file that cannot be read changes nothing"
    file.unlink()
    assert keys.owner("Bearer two")


def test_an_empty_file_lets_nobody_in(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.touch()
    refused(Keys([], str(file)), "Bearer anything")


def test_a_file_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="RERANKQ_API_KEYS_FILE"):
        Keys([], str(tmp_path / "nothing"))

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


@pytest.mark.parametrize("text", ["a b c", "näme key", "x" * 65 + " key"])
def test_a_key_that_cannot_be_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Keys([text])
    assert text not in str(caught.value)


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

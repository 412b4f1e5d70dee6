"""Settings: every one documented, every wrong one refused in one line, no secret shown."""

import re
from pathlib import Path

import pytest

from rerankq.errors import SettingsError
from rerankq.settings import CLIENT_VARIABLES, PREFIX, Settings, unknown_variables

TABLE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_table_and_the_code_agree() -> None:
    rows = re.findall(r"^\| `(RERANKQ_\w+)` \| (.*?) ?\| (.+) \|$", TABLE.read_text(), re.MULTILINE)
    documented = {name: (default, text) for name, default, text in rows}
    fields = {PREFIX + name.upper(): field for name, field in Settings.model_fields.items()}
    assert set(documented) == set(fields) | CLIENT_VARIABLES
    for name, field in fields.items():
        default, text = documented[name]
        assert text == field.description, name
        shown = "" if field.default in (None, ()) else str(field.default)
        assert default.strip("` ").lower() == shown.lower(), name


def test_empty_means_not_given() -> None:
    assert Settings.from_env({"RERANKQ_MODEL": ""}) == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RERANKQ_REDIS_URL", "http://x"),
        ("RERANKQ_REDIS_URL", "redis://x?ssl_ca_certs=/ca.pem"),
        ("RERANKQ_REDIS_URL", "rediss://x?ssl_ca_certs=/nowhere/ca.pem"),
        ("RERANKQ_REDIS_URL", f"rediss://x?ssl_ca_certs={__file__}"),
        ("RERANKQ_REDIS_URL", f"rediss://x?ssl_certfile={__file__}"),
        ("RERANKQ_REDIS_URL", "rediss://x?ssl_cert_reqs=never"),
        ("RERANKQ_REDIS_URL", "redis://:unspeakable/rest@x/0"),
        ("RERANKQ_DTYPE", "int3"),
        ("RERANKQ_MAX_LENGTH", "many"),
        ("RERANKQ_LEASE_SECONDS", "0"),
        ("RERANKQ_DEVICE", "gpu"),
        ("RERANKQ_MAX_BACKLOG", "-1"),
        ("RERANKQ_RESULT_TTL", "inf"),
        ("RERANKQ_VISIBILITY_TIMEOUT", "nan"),
        ("RERANKQ_API_KEYS", ","),
        ("RERANKQ_MODELS", "a:b"),
        ("RERANKQ_MODELS", "a b"),
        ("RERANKQ_MODELS", "a\x06b"),
        ("RERANKQ_MODELS", "a\udcffb"),
        ("RERANKQ_MODELS", "a, b, a"),
    ],
)
def test_a_wrong_value_is_one_clear_line(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as caught:
        Settings.from_env({name: value})
    assert "\n" not in str(caught.value)
    assert "unspeakable" not in str(caught.value)


def test_secrets_are_never_shown() -> None:
    settings = Settings.from_env(
        {"RERANKQ_REDIS_URL": "redis://:hunter2@h/0", "RERANKQ_API_KEYS": "hunter2, other"}
    )
    assert settings.api_keys == ("hunter2", "other")
    assert "hunter2" not in repr(settings)
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"RERANKQ_REDIS_URL": "wrong://:hunter2@h/0"})
    assert "hunter2" not in str(caught.value)


def test_a_typo_is_found() -> None:
    environ = {"RERANKQ_MODLE": "x", "RERANKQ_MODEL": "x", "RERANKQ_URL": "x", "HOME": "x"}
    assert unknown_variables(environ) == ["RERANKQ_MODLE"]

"""Every RERANKQ_* variable: its meaning, its default, its limits.

One class, read once at start-up by the API, the workers and the command line; docs/settings.md
is held against it by a test.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from rerankq import tls
from rerankq.errors import SettingsError
from rerankq.fields import MOST_DOCUMENTS
from rerankq.words import in_words

PREFIX = "RERANKQ_"
MOST_TOKENS = 1 << 22  # of anything: more is a slip of the finger


def _comma_separated(value: object) -> object:
    if isinstance(value, str):
        parts = tuple(part.strip() for part in value.split(",") if part.strip())
        if not parts:
            raise ValueError("lists nothing")  # as for keys, where nothing would mean open to all
        return parts
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(_comma_separated)]


def _names_of_queues(models: tuple[str, ...]) -> tuple[str, ...]:
    for model in models:
        if not model.isprintable() or ":" in model or " " in model:
            raise ValueError(f"{model!r} cannot name a queue: no `:`, no blanks, all printable")
        if models.count(model) > 1:
            raise ValueError(f"lists {model!r} twice")
    return models


SPREADS = ("auto", "balanced", "sequential")


def _device_map(value: object) -> object:
    if not isinstance(value, str) or value in SPREADS:
        return value
    try:
        parsed = json.loads(value)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict) or not parsed:
        raise ValueError(f"neither {', '.join(SPREADS)} nor a JSON object of modules and devices")
    for module, device in parsed.items():
        if isinstance(device, bool) or not isinstance(device, int | str):
            raise ValueError(f"{module!r} has no device (cpu, disk, or a GPU's number)")
    return parsed


DeviceMap = Annotated[str | dict[str, int | str], BeforeValidator(_device_map)]


def _absolute(url: str) -> str:
    """A local folder by its whole path: processes with other working directories read it, too."""
    return url if re.match(r"[A-Za-z][A-Za-z0-9+.-]*::?//|.*::", url) else os.path.abspath(url)


class Settings(BaseModel):
    """What a process was told by its environment."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    redis_url: Annotated[str, AfterValidator(tls.checked)] = Field(
        "redis://127.0.0.1:6379/0",
        pattern=r"^(rediss?|unix)://",
        repr=False,
        description="Broker, results and ledger: one Redis, its own database.",
    )
    model: str = Field(
        "Qwen/Qwen3-Reranker-0.6B", min_length=1, description="Hub id or local path of the model."
    )
    model_aliases: Names = Field(
        (), description="Further names the model answers to, comma-separated; `*`: any."
    )
    models: Annotated[Names, AfterValidator(_names_of_queues)] = Field(
        (),
        description="Further models, comma-separated; each has workers (whose `RERANKQ_MODEL` it "
        "is) and a queue of its own. The same for the API and for every worker.",
    )
    revision: str | None = Field(None, description="Hub revision (branch, tag or commit).")
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$",
        description="`auto`: CUDA where there is one, else the CPU.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="`auto`: bfloat16 on CUDA, float32 on the CPU."
    )
    quantization: Literal["none", "int8", "int4", "fp8"] = Field(
        "none",
        description="Weights in fewer bits: `int8` and `int4` by the package bitsandbytes, `fp8` "
        "on GPUs that multiply it.",
    )
    device_map: DeviceMap | None = Field(
        None,
        description="Spread the model over several devices: `auto`, `balanced`, `sequential`, or a "
        "JSON object of modules and devices.",
    )
    offload_dir: str | None = Field(
        None,
        description="Folder for weights that `RERANKQ_DEVICE_MAP` puts on `disk` and that are in "
        "no safetensors file.",
    )
    compile: bool = Field(
        False, description="Compile the model's norms and gated products. For GPUs."
    )
    attention: Literal["auto", "packed", "padded"] = Field(
        "auto",
        description="`packed`: no padding, shared prefixes once; `auto`: that, where its scores "
        "agree with the padded pass.",
    )
    max_length: int = Field(
        8192,
        ge=64,
        le=MOST_TOKENS,
        description="Tokens of one pair; the model's own limit if that is lower.",
    )
    max_query_tokens: int = Field(
        0,
        ge=0,
        le=MOST_TOKENS,
        description="Tokens of a query; 0: as many as leave room for a document.",
    )
    token_budget: int = Field(
        0, ge=0, le=MOST_TOKENS, description="Tokens of one forward pass; 0: measured at start."
    )
    shard_tokens: int = Field(
        16_384,
        ge=256,
        description="Estimated tokens of one ledger entry; cut further to one second of the "
        "slowest worker's measured rate.",
    )
    concurrency: int = Field(
        64, ge=1, le=1024, description="Public Celery tasks one worker holds at once."
    )
    lease_seconds: float = Field(
        15.0, ge=1.0, le=3600, description="Without a renewal for this long, work is given away."
    )
    max_attempts: int = Field(
        3,
        ge=1,
        le=100,
        description="Losses of a shard that runs alone after which its job fails.",
    )
    visibility_timeout: float = Field(
        60.0,
        ge=5,
        le=86_400,
        description="Seconds until an unacknowledged public task is redelivered.",
    )
    result_ttl: float = Field(
        86_400.0, ge=1, le=365 * 86_400, description="Seconds a final job is kept."
    )
    cache_ttl: float = Field(
        0.0,
        ge=0,
        le=365 * 86_400,
        description="Seconds a pair's score is kept for whoever asks for the same; 0: none is.",
    )
    max_documents: int = Field(
        100_000, ge=1, le=MOST_DOCUMENTS, description="Documents of one job."
    )
    max_body_bytes: int = Field(64 * 1024 * 1024, ge=1024, description="Bytes of one request.")
    max_backlog: int = Field(
        100_000, ge=1, description="Open ledger entries of a lane; above it 429."
    )
    rate_limit: str | None = Field(
        None,
        description="Calls that bring work, for each API key (for each address while no keys are "
        "set), such as `100/second; 5000/minute`; none: as often as they like.",
    )
    sync_timeout: float = Field(
        60.0, gt=0, le=600, description="Seconds a compatible path waits before it answers 503."
    )
    api_keys: Names = Field(
        (),
        repr=False,
        description="Keys that may call, `KEY` or `NAME KEY`, comma-separated; none: open to all.",
    )
    api_keys_file: str | None = Field(
        None, description="File of further keys, one a line; read again when it changes."
    )
    operators: Names = Field(
        (),
        description="Names of API keys that may pause, resume and purge lanes and drain workers; "
        "while no keys are set, everybody may.",
    )
    metrics_port: int = Field(
        9090, ge=0, le=65535, description="The worker's /metrics, /livez and /readyz; 0: any free."
    )
    storage_url: Annotated[str, AfterValidator(_absolute)] | None = Field(
        None,
        description="Folder or fsspec URL for uploaded files, outputs and parts of batches, the "
        "same for the API and for every worker; without it nothing can be uploaded.",
    )
    storage_allow: Names = Field(
        (),
        description="URL prefixes, comma-separated, that a batch's `input_uri` and `output_uri` "
        "may lie under; none: no URL may be named.",
    )
    webhook_secret: str | None = Field(
        None,
        repr=False,
        description="Signs webhooks: `whsec_` and base64, as Standard Webhooks has it; "
        "without it a job that wants one is refused.",
    )
    webhook_allow_private: bool = Field(
        False, description="Let webhooks reach private and local addresses, too."
    )
    control_tokens: Literal["text", "reference"] = Field(
        "text",
        description="How a control token that is written in a query, an instruction or a document "
        "is read: `text`: as the letters it is written with; `reference`: as the token, as the "
        "models' reference code does.",
    )
    trust_remote_code: bool = Field(
        False, description="Let a model run code of its own. Only for models you wrote."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level that is logged."
    )
    log_format: Literal["json", "text"] = Field(
        "json", description="Each line one object, also what is only printed; or text for people."
    )

    @property
    def further(self) -> str | None:
        """The model, if it is one of the further ones; None for the default."""
        return self.model if self.model in self.models else None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the variables this version knows.

        Raises:
            SettingsError: a value is wrong. Variables it does not know are left alone, since
                Kubernetes itself injects some with our prefix (service links).
        """
        given = os.environ if environ is None else environ
        known = {
            name: given[PREFIX + name.upper()]
            for name in cls.model_fields
            if given.get(PREFIX + name.upper(), "") != ""
        }
        try:
            return cls.model_validate(known)
        except ValidationError as error:
            raise SettingsError(_one_line(error)) from None


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """RERANKQ_* names this version does not know, so that a start-up can warn of a typo."""
    ours = {PREFIX + name.upper() for name in Settings.model_fields} | CLIENT_VARIABLES
    return sorted(name for name in environ if name.startswith(PREFIX) and name not in ours)


CLIENT_VARIABLES = frozenset({PREFIX + "URL", PREFIX + "API_KEY"})


def _one_line(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0])
    secret = not (Settings.model_fields[name].repr if name in Settings.model_fields else True)
    value = "(hidden)" if secret else repr(first["input"])
    return f"{PREFIX}{name.upper()}={value}: {in_words(first)}"

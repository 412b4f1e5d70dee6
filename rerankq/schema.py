"""The shapes of jobs over HTTP: what a caller sends and what comes back."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, TypedDict

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    FailFast,
    Field,
    JsonValue,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from rerankq.fields import (
    MAX_EXPIRES_IN,
    DocumentText,
    Instruction,
    Metadata,
    ModelName,
    Query,
    TextForm,
    WebhookUrl,
    at_most,
    countable,
    document_form,
)
from rerankq.status import JobStatus, Lane


def absent(value: object) -> bool:
    return value is None


class Strict(BaseModel):
    """A body of ours: no field that is unknown, no value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _no_unknown_field(cls, data: object) -> object:
        # At the first one: pydantic would make an error of each, and a body can hold millions.
        if isinstance(data, dict):
            for name in data:
                if name not in cls.model_fields:
                    # It can hold what no JSON answer can carry.
                    shown = str(name)[:200].encode(errors="replace").decode()
                    raise PydanticCustomError(
                        "unknown_field", "is no field of this request", {"field": shown}
                    )
        return data


class Answer(BaseModel):
    """Read leniently: a client must outlive fields that a later service adds."""

    model_config = ConfigDict(extra="ignore")


class Document(Strict):
    """One candidate text, with the caller's own name for it if it has one."""

    text: DocumentText
    id: Annotated[str, at_most(1024)] | None = None


_AnyDocument = Annotated[
    TextForm | Annotated[Document, Tag("(object)")], Discriminator(document_form)
]


class JobRequest(Strict):
    """A query and the documents to rank for it."""

    query: Query = Field(description="What the documents are ranked for. At most 64 KiB.")
    # Failing fast, because an error for each of millions of wrong ones takes minutes and gigabytes.
    documents: Annotated[list[_AnyDocument], FailFast(), BeforeValidator(countable)] = Field(
        min_length=1, description="Texts, or `{text, id?}`. At most 1 MiB each; empty is legal."
    )
    instruction: Instruction | None = Field(
        None, description="The task, for models that take one. Default: the model's own."
    )
    top_n: int | None = Field(None, ge=1, description="Return the best n only. Clipped.")
    return_documents: bool = False
    model: ModelName | None = Field(None, description="Default: the model this service serves.")
    # From JSON these two arrive as strings, which strict mode would refuse.
    lane: Lane = Field(Lane.INTERACTIVE, strict=False)
    expires_in: float | None = Field(
        None,
        gt=0,
        le=MAX_EXPIRES_IN,
        description="Seconds until the job is given up. Default 24 h.",
    )
    webhook_url: WebhookUrl | None = Field(
        None, description="Told when the job is final, by the rules of Standard Webhooks."
    )
    metadata: Metadata = Field(None, description="Returned as it came. At most 16 KiB as JSON.")
    raw_scores: bool = Field(False, description="Log-odds instead of probabilities.")
    max_tokens_per_doc: int | None = Field(
        None,
        ge=1,
        description="Cut each document to its first n tokens. Default: the model's limit.",
    )


class Problem(Answer):
    """RFC 9457 problem details, with a stable `code`, the field and the limit."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    field: str | None = Field(None, exclude_if=absent)
    limit: int | float | str | None = Field(None, exclude_if=absent)
    request_id: str | None = Field(None, exclude_if=absent)


class ModelRef(Answer):
    """The model that scored, by hub id or path, and which state of it."""

    id: str
    revision: str | None = None


class Progress(Answer):
    """Documents scored so far, of all."""

    scored: int
    total: int


class DocumentOut(Answer):
    text: str


class Result(Answer):
    """One document's place: its index in the request and how relevant it is."""

    index: int
    id: str | None = Field(None, exclude_if=absent)
    relevance_score: float
    document: DocumentOut | None = Field(None, exclude_if=absent)
    truncated: bool | None = Field(None, exclude_if=absent)


class Usage(Answer):
    """Tokens scored (without padding), and how many documents were cut to fit the model."""

    total_tokens: int
    truncated: int = 0


class Timing(Answer):
    """Seconds from acceptance to the first worker, and from there to the end."""

    queued_s: float | None = None
    scoring_s: float | None = None


class Job(Answer):
    """A job as `GET /v1/jobs/{id}` shows it."""

    id: str
    object: Literal["rerank.job"] = "rerank.job"
    status: JobStatus
    model: ModelRef
    lane: Lane
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime
    retained_until: datetime | None = None
    progress: Progress
    results: list[Result] | None = None
    error: Problem | None = None
    usage: Usage
    timing: Timing
    metadata: dict[str, JsonValue] | None = None


class JobList(Answer):
    """A page of jobs, newest first; `next_cursor` is null on the last."""

    object: Literal["list"] = "list"
    data: list[Job]
    next_cursor: str | None = None


class Ranking(TypedDict):
    """What the public Celery task returns; `results` are `{index, relevance_score, document?}`."""

    model: str
    results: list[dict[str, Any]]
    usage: dict[str, int]

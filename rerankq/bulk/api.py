"""Files and batches as HTTP has them: OpenAI's objects, with fields of ours beside theirs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field

from rerankq.bulk.spec import InputFormat, OutputFormat
from rerankq.fields import MOST_DOCUMENTS, Instruction, ModelName, at_most
from rerankq.schema import Problem, Strict
from rerankq.status import Phase

LEAST_KEPT_S, MOST_KEPT_S = 3600, 30 * 24 * 3600  # that a file's maker may ask for
MOST_METADATA = 16  # pairs
MOST_ERRORS = 1 << 53

ENDPOINTS = ("/v1/rerank", "/rerank")  # that a batch may call

FilePurpose = Literal["batch", "assistants", "evals", "fine-tune", "user_data", "vision"]


def _few(metadata: object) -> object:
    # Before any of them is looked at: a body can hold millions.
    if isinstance(metadata, dict) and len(metadata) > MOST_METADATA:
        raise ValueError(f"has {len(metadata)} pairs; the limit is {MOST_METADATA}")
    return metadata


FileId = Annotated[str, at_most(64)]
Uri = Annotated[str, at_most(2048)]
BatchMetadata = Annotated[
    dict[Annotated[str, at_most(64)], Annotated[str, at_most(512)]] | None, BeforeValidator(_few)
]


class FileObject(BaseModel):
    """https://platform.openai.com/docs/api-reference/files/object; times in Unix seconds."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None = None
    filename: str
    purpose: str
    status: Literal["uploaded", "processed", "error"] = "processed"
    status_details: str | None = None


class FileList(BaseModel):
    object: Literal["list"] = "list"
    data: list[FileObject]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False


class FileDeleted(BaseModel):
    id: str
    object: Literal["file"] = "file"
    deleted: bool = True


class OutputExpiresAfter(Strict):
    """https://platform.openai.com/docs/api-reference/batch/create#output_expires_after"""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=LEAST_KEPT_S, le=MOST_KEPT_S)


class BatchRequest(Strict):
    """https://platform.openai.com/docs/api-reference/batch/create, and ours.

    Exactly one of `input_file_id` and `input_uri`; without `output_uri` the output is a file. With
    `input_format` other than `openai` the lines are no requests but what that format has.
    """

    endpoint: Annotated[str, at_most(256)] = Field("/v1/rerank", description="`/v1/rerank`.")
    completion_window: Annotated[str, at_most(16)] = Field(
        "24h",
        pattern=r"^[1-9][0-9]{0,4}[mhd]$",
        description="`24h`, or any other number of minutes, hours or days, at most 30 days.",
    )
    metadata: BatchMetadata = None
    output_expires_after: OutputExpiresAfter | None = None
    input_file_id: FileId | None = None
    input_uri: Uri | None = None
    output_uri: Uri | None = Field(None, description="With `partitioned` a folder.")
    input_format: InputFormat = "openai"
    output_format: OutputFormat | None = Field(None, description="Default: the input's.")
    corpus_file_id: FileId | None = None
    corpus_uri: Uri | None = None
    queries_file_id: FileId | None = None
    queries_uri: Uri | None = None
    model: ModelName | None = Field(None, description="Default: the model this service serves.")
    instruction: Instruction | None = None
    top_k: int | None = Field(None, ge=1, le=MOST_DOCUMENTS)
    depth: int | None = Field(None, ge=1, le=MOST_DOCUMENTS)
    tag: Annotated[str, at_most(256)] | None = Field(None, pattern=r"^\S+$")
    raw_scores: bool = False
    return_documents: bool = False
    partitioned: bool = False
    max_errors: int | None = Field(None, ge=0, le=MOST_ERRORS)


class RequestCounts(BaseModel):
    """Of lines; `total` is what is known of them so far."""

    total: int
    completed: int
    failed: int


class BatchProgress(BaseModel):
    """Ours: `chunks` is 0 until the input is cut."""

    chunks: int
    chunks_done: int
    pairs: int
    tokens: int
    truncated: int


class BatchError(BaseModel):
    code: str
    message: str
    param: str | None = None
    line: int | None = None


class BatchErrors(BaseModel):
    object: Literal["list"] = "list"
    data: list[BatchError]


class BatchObject(BaseModel):
    """https://platform.openai.com/docs/api-reference/batch/object; times in Unix seconds."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str
    errors: BatchErrors | None = None
    input_file_id: str | None = None
    completion_window: str
    status: Phase
    output_file_id: str | None = None
    error_file_id: str | None = None
    created_at: int
    in_progress_at: int | None = None
    expires_at: int
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: RequestCounts
    metadata: dict[str, str] | None = None
    # Ours.
    input_uri: str | None = None
    output_uri: str | None = None
    error_uri: str | None = None
    progress: BatchProgress
    error: Problem | None = None


class BatchList(BaseModel):
    object: Literal["list"] = "list"
    data: list[BatchObject]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False

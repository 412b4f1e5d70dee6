"""Files and batches as HTTP has them: OpenAI's objects, with fields of ours beside theirs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rerankq.bulk.spec import InputFormat, OutputFormat
from rerankq.ledger.batches import Phase
from rerankq.schema import Problem


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


class BatchRequest(BaseModel):
    """https://platform.openai.com/docs/api-reference/batch/create, and ours.

    Exactly one of `input_file_id` and `input_uri`; without `output_uri` the output is a file. With
    `input_format` other than `openai` the lines are no requests but what that format has.
    """

    model_config = ConfigDict(extra="forbid")

    endpoint: str = "/v1/rerank"
    completion_window: str = "24h"
    metadata: dict[str, str] | None = None
    output_expires_after: dict[str, Any] | None = None
    input_file_id: str | None = None
    input_uri: str | None = None
    output_uri: str | None = None
    input_format: InputFormat = "openai"
    output_format: OutputFormat | None = Field(None, description="default: the input's")
    corpus_file_id: str | None = None
    corpus_uri: str | None = None
    queries_file_id: str | None = None
    queries_uri: str | None = None
    model: str | None = None
    instruction: str | None = None
    top_k: int | None = Field(None, ge=1)
    depth: int | None = Field(None, ge=1)
    tag: str | None = None
    raw_scores: bool = False
    return_documents: bool = False
    partitioned: bool = False
    max_errors: int | None = Field(None, ge=0)


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

"""What a batch is to do: one record, in the ledger as JSON, that everything else follows from."""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from rerankq.bulk import storage

InputFormat = Literal["jsonl", "rank_llm", "msmarco", "trec", "parquet", "openai"]
OutputFormat = Literal["jsonl", "rank_llm", "msmarco", "trec", "parquet", "openai"]


class BatchSpec(BaseModel):
    """Where the input lies, how it is read, and where the output goes.

    Attributes:
        input: URL or absolute path; with `trec` the run.
        version: of the input, as storage tells it (size and etag or time); reading another one
            fails the batch.
        corpus, queries: BEIR's files (corpus.jsonl, queries.jsonl), for `trec` alone.
        versions_beside: of corpus and queries.
        output: URL or absolute path of the merged output; with `partitioned` a folder of parts.
        errors: URL or path of the file for bad lines; written only if there are any.
        work: folder (URL or path) for parts and whatever else is the batch's own until its end.
        top_k: so many results a query are written; None: all.
        depth: only the first so many candidates of a query are scored and written; None: all.
        tag: the last column of a TREC run.
        models: names a line may call the model by, with `openai` alone; empty: any.
        max_errors: bad lines after which the batch fails; None: any number.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: str
    input_format: InputFormat
    version: str
    output: str
    output_format: OutputFormat
    errors: str
    work: str
    corpus: str | None = None
    queries: str | None = None
    versions_beside: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    partitioned: bool = False
    instruction: str | None = None
    top_k: int | None = Field(None, ge=1)
    depth: int | None = Field(None, ge=1)
    tag: str = Field("rerankq", pattern=r"^\S+$")
    raw_scores: bool = False
    return_documents: bool = False
    max_errors: int | None = Field(None, ge=0)

    def fingerprint(self, model: str = "") -> str:
        """Names a part's content: the same for the same input, options and model.

        Args:
            model: all that a score follows from besides its texts, of what scores it.
        """
        told = self.model_dump_json(exclude={"output", "errors", "work", "max_errors"})
        return hashlib.sha256(f"{model}\0{told}".encode()).hexdigest()[:16]

    def at_home(self) -> BatchSpec:
        """With a folder of its own inside `work`, by its input's version and its options: so one
        that reads or asks for something else finds nothing of this one there.
        """
        return self.model_copy(update={"work": storage.join(self.work, self.fingerprint())})

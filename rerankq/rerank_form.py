"""The form of `/v1/rerank`, which the lines of a batch have too: Cohere's, Jina's and vLLM's.

A field that could change a score, or which text is scored, is honoured or refused, never ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    FailFast,
    Field,
    JsonValue,
    PrivateAttr,
    Tag,
    model_validator,
)

from rerankq.fields import (
    MAX_DOCUMENT_BYTES,
    NO_JSON,
    DocumentText,
    Instruction,
    ModelName,
    Query,
    TextForm,
    at_most,
    check_size,
    countable,
    document_form,
    json_size,
    only,
    wrong_field,
)
from rerankq.schema import Answer, Strict, absent

MOST_RANK_FIELDS = 64

RankedFor = Annotated[
    Query, Field(description="What the documents are ranked for. At most 64 KiB.")
]
PlainDocuments = Annotated[
    list[DocumentText],
    FailFast(),
    BeforeValidator(countable),
    Field(min_length=1, description="At most 1 MiB each; empty is legal."),
]

_CUT_AT_THE_END = "what does not fit the model is cut off a document's end"
_NO_SPANS = "this service finds no spans"


class Compatible(BaseModel):
    """A body of a foreign form. Unknown fields are ignored, null means not given."""

    model_config = ConfigDict(extra="ignore")

    model: ModelName | None = Field(None, description="Default: the model this service serves.")
    instruction: Instruction | None = Field(
        None, description="The task, for models that take one. Default: the model's own."
    )
    instruct: Instruction | None = Field(None, description="The same as `instruction`.")
    prompt: Instruction | None = Field(None, description="The same as `instruction`.")

    @model_validator(mode="after")
    def _one_task(self) -> Self:
        given = self._tasks()
        if len(set(given.values())) > 1:
            raise wrong_field(list(given)[1], "contradicts another field that says the same thing")
        return self

    @property
    def task(self) -> str | None:
        """The instruction, by whichever name it came."""
        return next(iter(self._tasks().values()), None)

    @property
    def names(self) -> dict[str, str]:
        """A job's fields as this body calls them, where they may be another's."""
        name = next(iter(self._tasks()), None)
        return {} if name is None else {"instruction": name}

    def _tasks(self) -> dict[str, str]:
        named = {
            "instruction": self.instruction,
            "instruct": self.instruct,
            "prompt": self.prompt,
        }
        return {name: text for name, text in named.items() if text is not None}


class TemplateArguments(Strict):
    """What vLLM hands to a model's template; of ours only the instruction can be set."""

    instruction: Instruction | None = None


class Scoring(Compatible):
    """What vLLM takes beside the texts.

    https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html#score-api
    """

    raw_scores: bool | None = Field(None, description="Log-odds instead of probabilities.")
    use_activation: bool | None = Field(None, description="False: as `raw_scores`.")
    activation: bool | None = Field(None, description="The same as `use_activation`.")
    softmax: bool | None = Field(None, description="The same as `use_activation`.")
    max_tokens_per_doc: int | None = Field(
        None, ge=0, description="Cut each document to its first n tokens. 0: to the model's limit."
    )
    max_tokens_per_query: Annotated[int | None, only("no query is ever cut", 0)] = None
    truncate_prompt_tokens: Annotated[
        int | None, only("a pair is cut to the model's limit and to no other", -1)
    ] = None
    truncation_side: Annotated[str | None, only(_CUT_AT_THE_END, "right")] = None
    chat_template_kwargs: TemplateArguments | None = None

    @property
    def raw(self) -> bool:
        """Log-odds are asked for."""
        return bool(self.raw_if_said)

    @property
    def raw_if_said(self) -> bool | None:
        """Whether log-odds are asked for, by whichever name; None: nothing is said of it."""
        if self.raw_scores is not None:
            return self.raw_scores
        named = (self.use_activation, self.activation, self.softmax)
        return next((not value for value in named if value is not None), None)

    def _tasks(self) -> dict[str, str]:
        told = self.chat_template_kwargs and self.chat_template_kwargs.instruction
        return super()._tasks() | ({"chat_template_kwargs.instruction": told} if told else {})


class RelevantSpans(BaseModel):
    """Cohere's, of which nothing but `disabled` can be honoured."""

    model_config = ConfigDict(extra="ignore")

    mode: Annotated[str | None, only(_NO_SPANS, "disabled")] = None


_AnyDocument = Annotated[
    TextForm | Annotated[dict[str, JsonValue], Tag("(object)")], Discriminator(document_form)
]


Documents = list[_AnyDocument]


class RerankRequest(Scoring):
    """What the clients of Cohere v1 and v2, Jina, vLLM and Voyage send."""

    query: RankedFor
    documents: Annotated[Documents, FailFast(), BeforeValidator(countable)] = Field(
        min_length=1,
        description="Texts, or objects with a `text`. At most 1 MiB each; empty is legal.",
    )
    # vLLM's default, 0, asks for all. `top_k` is Voyage's name, and some clients' of the others.
    top_n: int | None = Field(None, ge=0, description="Return the best n only. 0: all.")
    top_k: int | None = Field(None, ge=0, description="The same as `top_n`, which goes first.")
    return_documents: bool | None = Field(None, description="Objects come back as they were given.")
    rank_fields: list[Annotated[str, at_most(256)]] | None = Field(
        None,
        max_length=MOST_RANK_FIELDS,
        description="Of objects: what is ranked, in this order, a line each. Default: `text`.",
    )
    max_chunks_per_doc: int | None = Field(
        None, ge=1, description="Honoured: a document is always one chunk."
    )
    truncation: bool | None = Field(
        None, description="False: 422 if a document had to be cut to fit the model."
    )
    relevant_spans: RelevantSpans | None = None
    return_embeddings: Annotated[bool | None, only("there are none", False)] = None

    _texts: list[str] = PrivateAttr(default_factory=list)

    @model_validator(mode="after")
    def _read(self) -> Self:
        self._texts = [
            document if isinstance(document, str) else self._text(f"documents.{index}", document)
            for index, document in enumerate(self.documents)
        ]
        return self

    @property
    def texts(self) -> list[str]:
        """What is ranked, in the documents' order."""
        return self._texts

    @property
    def best(self) -> int | None:
        """How many results are asked for; None: all."""
        return self.top_n or self.top_k or None

    def _text(self, where: str, document: dict[str, JsonValue]) -> str:
        fields = self.rank_fields or ["text"]
        parts = []
        for name in fields:
            value = document.get(name)
            if value is not None and not isinstance(value, str):
                raise wrong_field(f"{where}.{name}", "must be a string")
            if value is not None:
                parts.append(value)
        if not parts:
            raise wrong_field(f"{where}.{fields[0]}", "is required")
        text = check_size("\n".join(parts), MAX_DOCUMENT_BYTES, field=f"{where}.{fields[0]}")
        if self.return_documents and json_size(document) is None:
            raise wrong_field(where, NO_JSON)
        return text


def echo(document: str | dict[str, JsonValue]) -> dict[str, JsonValue]:
    """A document as it goes back with its score."""
    return {"text": document} if isinstance(document, str) else document


class RerankResult(Answer):
    """One document's place: its index in the request and how relevant it is."""

    index: int
    relevance_score: float
    document: dict[str, JsonValue] | None = Field(None, exclude_if=absent)
    truncated: bool | None = Field(None, exclude_if=absent)


class RerankUsage(Answer):
    """Tokens scored, without padding."""

    prompt_tokens: int
    total_tokens: int


class RerankResponse(Answer):
    """The ranking, best first. `data` repeats it for clients of the Voyage form."""

    id: str
    object: Literal["rerank"] = "rerank"
    model: str
    results: list[RerankResult]
    data: list[RerankResult]
    usage: RerankUsage
    meta: dict[str, Any]

"""The durable queue between a search or RAG system and a reranking model: the light client."""

from rerankq.async_client import AsyncClient
from rerankq.client import Client
from rerankq.errors import (
    APIError,
    ConnectionFailed,
    DecodeError,
    Forbidden,
    InvalidRequest,
    JobFailed,
    JobNotFinished,
    LaterVersion,
    NotFound,
    Overloaded,
    RerankqError,
    SettingsError,
    TooLarge,
    Unauthorized,
    Unavailable,
    UsageError,
)
from rerankq.operator import Operator
from rerankq.schema import Document, Job, JobRequest, Problem, Result
from rerankq.status import JobStatus, Lane
from rerankq.views import QueueView

__version__ = "0.1.0"

__all__ = [
    "APIError",
    "AsyncClient",
    "Client",
    "ConnectionFailed",
    "DecodeError",
    "Document",
    "Forbidden",
    "InvalidRequest",
    "Job",
    "JobFailed",
    "JobNotFinished",
    "JobRequest",
    "JobStatus",
    "Lane",
    "LaterVersion",
    "NotFound",
    "Operator",
    "Overloaded",
    "Problem",
    "QueueView",
    "RerankqError",
    "Result",
    "SettingsError",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "UsageError",
    "__version__",
]

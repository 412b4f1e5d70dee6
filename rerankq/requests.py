"""The calls of the service as values, shared by the blocking and the asynchronous client."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO
from urllib.parse import quote

import httpx

from rerankq.errors import SettingsError
from rerankq.schema import Document
from rerankq.status import JobStatus

DEFAULT_URL = "http://127.0.0.1:8000"
STORED_WITHIN_S = 300.0  # after its last byte an upload may have to go on to an object store


class Requests:
    """What both clients say to the service: where, as whom, and each call as an `httpx.Request`.

    Raises: SettingsError: the API key is none that a header can carry.
    """

    def __init__(self, url: str | None, api_key: str | None, retry_for: float) -> None:
        self.url = (url or os.environ.get("RERANKQ_URL") or DEFAULT_URL).rstrip("/")
        self.retry_for = retry_for
        key = api_key or os.environ.get("RERANKQ_API_KEY")
        if key and not (key.isascii() and key.isprintable()):
            raise SettingsError(
                "the API key, RERANKQ_API_KEY=(hidden), must be printable ASCII characters alone"
            )
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}

    def submit(
        self,
        query: str,
        documents: Sequence[str | Document],
        idempotency_key: str | None,
        options: dict[str, Any],
    ) -> httpx.Request:
        # The service alone judges what is valid, so there is one kind of refusal to handle.
        texts = [
            document.model_dump() if isinstance(document, Document) else document
            for document in documents
        ]
        content = json.dumps({"query": query, "documents": texts, **options})
        # With a key a repeated submission is recognised, so every failure may be retried.
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        return self._request("POST", "/v1/jobs", headers=headers, content=content)

    def get(self, job_id: str, wait: float, partial: bool) -> httpx.Request:
        params: dict[str, str] = {}
        if wait > 0:
            params["wait"] = f"{wait:.3f}"
        if partial:
            params["partial"] = "true"
        return self._request("GET", f"/v1/jobs/{_segment(job_id)}", params=params, read_s=wait + 10)

    def cancel(self, job_id: str) -> httpx.Request:
        return self._request("DELETE", f"/v1/jobs/{_segment(job_id)}")

    def retry(self, job_id: str) -> httpx.Request:
        return self._request("POST", f"/v1/jobs/{_segment(job_id)}/retry")

    def results(self, job_id: str) -> httpx.Request:
        return self._request("GET", f"/v1/jobs/{_segment(job_id)}/results")

    def jobs(self, status: JobStatus | None, cursor: str | None) -> httpx.Request:
        params = {"status": status, "cursor": cursor, "limit": "100"}
        return self._request(
            "GET", "/v1/jobs", params={key: value for key, value in params.items() if value}
        )

    def queue(self, model: str | None) -> httpx.Request:
        return self._request("GET", "/v1/queue", params=_of_model(model))

    def models(self) -> httpx.Request:
        return self._request("GET", "/v1/models")

    def lane(self, lane: str, verb: str, model: str | None, **params: str) -> httpx.Request:
        path = f"/v1/lanes/{_segment(lane)}/{verb}"
        return self._request("POST", path, params=_of_model(model) | params)

    def workers(self) -> httpx.Request:
        return self._request("GET", "/v1/workers")

    def drain(self, worker: str) -> httpx.Request:
        return self._request("POST", f"/v1/workers/{_segment(worker)}/drain")

    def upload(self, file: BinaryIO, name: str, purpose: str) -> httpx.Request:
        """The file is read from its start as it is sent, again with each try."""
        return httpx.Request(
            "POST",
            self.url + "/v1/files",
            data={"purpose": purpose},
            files={"file": (name, file, "application/octet-stream")},
            headers=self.headers,
            extensions=_timeouts(STORED_WITHIN_S),
        )

    def file(self, file_id: str) -> httpx.Request:
        return self._request("GET", f"/v1/files/{_segment(file_id)}")

    def content(self, file_id: str) -> httpx.Request:
        return self._request("GET", f"/v1/files/{_segment(file_id)}/content")

    def delete_file(self, file_id: str) -> httpx.Request:
        return self._request("DELETE", f"/v1/files/{_segment(file_id)}")

    def create_batch(self, fields: Mapping[str, Any], idempotency_key: str | None) -> httpx.Request:
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        return self._request("POST", "/v1/batches", headers=headers, content=json.dumps(fields))

    def batch(self, batch_id: str) -> httpx.Request:
        return self._request("GET", f"/v1/batches/{_segment(batch_id)}")

    def batches(self, after: str | None) -> httpx.Request:
        params = {"limit": "100"} | ({} if after is None else {"after": after})
        return self._request("GET", "/v1/batches", params=params)

    def cancel_batch(self, batch_id: str) -> httpx.Request:
        return self._request("POST", f"/v1/batches/{_segment(batch_id)}/cancel")

    def _request(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        content: str | None = None,
        read_s: float = 30.0,
    ) -> httpx.Request:
        json_type = {"Content-Type": "application/json"} if content is not None else {}
        return httpx.Request(
            method,
            self.url + path,
            params=params,
            content=content,
            headers={**self.headers, **json_type, **(headers or {})},
            extensions=_timeouts(read_s),
        )


def _timeouts(read_s: float) -> dict[str, Any]:
    return {"timeout": {"connect": 5.0, "read": read_s, "write": 60.0, "pool": 5.0}}


def _segment(text: str) -> str:
    """One segment of a path, whatever is in it: `..` would lead to another resource."""
    return quote(text, safe="").replace(".", "%2E") or "%20"


def _of_model(model: str | None) -> dict[str, str]:
    return {} if model is None else {"model": model}

"""A storage that takes connections and never answers: given up, with its name, in bounded time."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator

import fsspec
import pytest

from rerankq.bulk import remote, storage


@pytest.fixture(scope="module")
def silent() -> Iterator[str]:
    """Its address."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    thread.join()
    assert taken
    for one in taken:
        one.close()


@pytest.fixture(scope="module", params=["s3", "http"])
def url(request: pytest.FixtureRequest, silent: str) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "PATIENCE_S", 0.2)
        if request.param == "http":
            yield f"{silent}/file"
            return
        patch.setenv("AWS_ENDPOINT_URL", silent)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        # They are kept by what they were made with, which the environment is no part of.
        s3 = fsspec.get_filesystem_class("s3")
        s3.clear_instance_cache()
        yield "s3://bucket/file"
        s3.clear_instance_cache()


READ: list[Callable[[str], object]] = [
    storage.stat,
    storage.exists,
    lambda url: storage.read_many(url, [(0, 1), (4, 5)]),
    lambda url: storage.open_at(url, 0),
    lambda url: next(storage.open_all([url, url])),
]
WRITTEN: list[Callable[[str], object]] = [
    lambda url: storage.put(url, b"data"),
    storage.delete,
]


def test_it_is_given_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_BUFFER", 10)  # or time is given for its megabytes
    verbs = READ + (WRITTEN if url.startswith("s3") else [])
    for verb in verbs:
        with pytest.raises(OSError, match=f"{url}.*no answer within 0.2 s"):
            verb(url)


@pytest.mark.parametrize("url", ["s3"], indirect=True)
@pytest.mark.parametrize("size", [4, 6 << 20])
def test_an_upload_is_given_up(url: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_LEAST_RATE", 1e12)  # or time is given for its megabytes
    monkeypatch.setattr(fsspec.get_filesystem_class("s3"), "default_block_size", 5 << 20)

    def write() -> None:
        with storage.writing(url) as out:
            out.write(b"x" * size)

    with pytest.raises(OSError, match=f"{url}: no answer in time"):
        write()


def test_nothing_goes_on_when_it_was_given_up(url: str) -> None:
    ranges = [(n, n + 1) for n in range(200)]
    with pytest.raises(OSError, match="no answer"):
        storage.read_many(url, ranges)

    async def left() -> int:
        return len(asyncio.all_tasks() - {asyncio.current_task()})

    assert fsspec.asyn.sync(fsspec.asyn.get_loop(), left) == 0


def test_what_carries_more_is_waited_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    class Fs:
        async_impl = True
        loop = None

        async def _pipe_file(self, path: str, data: bytes) -> None: ...

    monkeypatch.setattr(
        fsspec.asyn, "sync", lambda *args, timeout, **options: waited.append(timeout)
    )
    remote._ask(Fs(), "pipe_file", "x", b"", size=30_000_000)
    assert waited == [remote.PATIENCE_S + 30]

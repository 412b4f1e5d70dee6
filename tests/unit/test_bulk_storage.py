"""Files of any place: read in ranges, written whole or not at all, and who may name them."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from rerankq.bulk import extras, remote, storage


class Broken(Exception):
    pass


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """An S3 of this process's own, with the bucket `bulk`."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    patch = pytest.MonkeyPatch()
    patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    patch.setenv("AWS_ACCESS_KEY_ID", "test")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    fsspec.filesystem("s3").call_s3("create_bucket", Bucket="bulk")
    yield "s3://bulk"
    type(fsspec.filesystem("s3")).clear_instance_cache()
    patch.undo()
    server.stop()


@pytest.fixture(params=["path", "file", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return {
        "path": str(tmp_path),
        "file": f"file://{tmp_path}",
        "memory": f"memory://{tmp_path}",
    }[str(request.param)]


def other_case(url: str) -> str:
    scheme, colon, path = url.partition("://")
    return f"{scheme.upper()}{colon}{path}" if colon else url


def contents(urls: list[str]) -> list[bytes]:
    told = []
    for file in storage.open_all(urls):
        with file:
            told.append(file.read())
    return told


def check_all_verbs(folder: str) -> None:
    url = storage.join(folder, "a.txt")
    assert not storage.exists(url)
    with pytest.raises(FileNotFoundError, match=r"a\.txt"):
        storage.stat(url)
    storage.put(url, b"one\ntwo\nthree")
    first = storage.stat(url)
    assert first.size == 13
    assert first == storage.stat(url)
    assert storage.read(url, 4, 7) == b"two"
    assert storage.read(url, 8, 99) == b"three"
    assert storage.read_many(url, [(8, 13), (0, 0), (0, 3)]) == [b"three", b"", b"one"]
    assert storage.read(other_case(url), 0, 3) == b"one"
    with storage.open_at(url, 4) as file:
        assert [file.readline(), file.readline(), file.read()] == [b"two\n", b"three", b""]
    with storage.writing(storage.join(folder, "sub/b.txt")) as out:
        out.write(b"x" * 5)
        out.write(memoryview(b"yy"))
    assert storage.read(storage.join(folder, "sub/b.txt"), 0, 9) == b"xxxxxyy"
    assert storage.listing(folder) == [url, storage.join(folder, "sub")]
    storage.put(url, b"other")
    assert storage.stat(url).version != first.version
    some = [storage.join(folder, "sub/b.txt"), url, url]
    assert contents(some) == [b"xxxxxyy", b"other", b"other"]
    with pytest.raises(FileNotFoundError, match="gone"):
        contents([url, storage.join(folder, "gone")])
    storage.delete(url)
    storage.delete(url)
    assert not storage.exists(url)
    storage.delete_tree(storage.join(folder, "sub"))
    storage.delete_tree(storage.join(folder, "sub"))
    assert storage.listing(storage.join(folder, "sub")) == []


def break_off(url: str, data: bytes) -> None:
    with storage.writing(url) as out:
        out.write(data)
        raise Broken


def check_nothing_is_published(folder: str) -> None:
    url = storage.join(folder, "never.txt")
    with pytest.raises(Broken):
        break_off(url, b"half")
    assert not storage.exists(url)
    assert storage.listing(folder) == []


def test_all_verbs(folder: str) -> None:
    check_all_verbs(folder)


def test_after_an_exception_there_is_nothing(folder: str) -> None:
    storage.make_folder(folder)
    check_nothing_is_published(folder)


def test_an_exception_leaves_the_old_file(folder: str) -> None:
    url = storage.join(folder, "kept.txt")
    storage.put(url, b"old")
    with pytest.raises(Broken):
        break_off(url, b"new")
    assert storage.read(url, 0, 9) == b"old"


def test_s3(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_all_verbs(f"{s3}/verbs")
    check_nothing_is_published(f"{s3}/nothing")
    # Large enough for an upload in several parts, which is another path than a small one.
    large = os.urandom(6 << 20)
    with storage.writing(f"{s3}/large/whole") as out:
        for at in range(0, len(large), 1 << 20):
            out.write(large[at : at + (1 << 20)])
    assert storage.read(f"{s3}/large/whole", 5 << 20, 6 << 20) == large[5 << 20 :]
    assert contents([f"{s3}/large/whole"]) == [large]
    fs = fsspec.filesystem("s3")
    monkeypatch.setattr(type(fs), "default_block_size", 5 << 20)
    with pytest.raises(Broken):
        break_off(f"{s3}/large/half", large)
    assert storage.listing(f"{s3}/large") == [f"{s3}/large/whole"]
    assert "Uploads" not in fs.call_s3("list_multipart_uploads", Bucket="bulk")
    with pytest.raises(FileNotFoundError, match="s3://nowhere/x"):
        storage.stat("s3://nowhere/x")


def test_a_full_disk_leaves_nothing_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*out'") as failure:
        storage.put(str(tmp_path / "out"), b"data")
    assert failure.value.errno == 28
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_cannot_be_written_names_itself(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        storage.put(str(tmp_path / "file" / "out"), b"data")


def test_what_is_no_file_is_no_input(tmp_path: Path) -> None:
    for url in (str(tmp_path), "/dev/null", f"file://{tmp_path}"):
        with pytest.raises(IsADirectoryError):
            storage.stat(url)


def test_written_files_are_as_readable_as_others(tmp_path: Path) -> None:
    storage.put(str(tmp_path / "ours"), b"")
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_messages_hold_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fs:
        def invalidate_cache(self) -> None: ...

        def info(self, path: str) -> dict[str, Any]:
            raise RuntimeError("GET https://user:secret@host/x?X-Amz-Signature=secret failed")

    monkeypatch.setattr(remote, "_opened", lambda url: (Fs(), url))
    with pytest.raises(OSError, match="failed") as failure:
        storage.stat("https://user:secret@host/x?X-Amz-Signature=secret")
    assert "secret" not in str(failure.value)
    assert "https://host/x" in str(failure.value)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="ocifs"):
        storage.stat("oci://bucket/x")
    with pytest.raises(OSError, match="nosuch"):
        storage.stat("nosuch://bucket/x")

    def missing(module: str) -> None:
        raise ImportError(module)

    monkeypatch.setattr(extras, "import_module", missing)
    with pytest.raises(OSError, match=r"needs fsspec: pip install 'rerankq\[bulk\]'"):
        storage.stat("s3://bucket/x")


def test_local_files_need_only_python(tmp_path: Path) -> None:
    code = (
        "import sys; from rerankq.bulk import formats, storage;"
        f"storage.put({str(tmp_path / 'x')!r}, b'1');"
        "print([m for m in ('fsspec', 'pyarrow', 'numpy') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_a_server_that_ignores_ranges_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fs:
        def cat_ranges(self, *args: Any, **options: Any) -> list[bytes]:
            return [b"all of the file"]

    monkeypatch.setattr(remote, "_opened", lambda url: (Fs(), url))
    with pytest.raises(OSError, match="range"):
        storage.read("https://host/x", 4, 6)


def test_remote_files_can_be_sought(folder: str) -> None:
    url = storage.join(folder, "sought")
    storage.put(url, bytes(range(100)))
    with storage.open_at(url, 10) as file:
        assert file.read(1) == bytes([10])
        file.seek(-2, io.SEEK_END)
        assert file.tell() == 98
        assert file.read() == bytes([98, 99])


PREFIXES = ["s3://bucket/a", "S3://other/", "https://data.example.org/sets", "gs://"]


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/a",
        "s3://bucket/a/",
        "s3://bucket/a/b c/d.jsonl",
        "S3://bucket/a/b",
        "s3://other/x",
        "gs://any/thing",
        "https://DATA.example.org/sets/x.jsonl",
    ],
)
def test_allowed(url: str) -> None:
    assert storage.allowed(url, PREFIXES)


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/ab",
        "s3://bucket",
        "s3://BUCKET/a/x",
        "s3://bucket/b/../a/x",
        "s3://bucket/a/../b",
        "s3://bucket/a/%2e%2e/b",
        "s3://bucket/a/./b",
        "s3://bucket/a//b",
        "s3://bucket/a/x?versionId=1",
        "s3://bucket/a/x#y",
        "s3://bucket/a/x\n",
        "s3://bucket/a/\u200bx",
        "s3://bucket/a/*",
        "s3://bucket\\a/x",
        "s3://user@bucket/a/x",
        "s3a://bucket/a/x",
        "https://other.example.org/sets/x",
        "https://data.example.org@evil.example/sets/x",
        "https://data.example.org:444/sets/x",
        "http://data.example.org/sets/x",
        "file:///etc/passwd",
        "local:///etc/passwd",
        "/etc/passwd",
        "etc/passwd",
        "simplecache::s3://bucket/a/x",
        "s3://bucket/a/x::file:///etc/passwd",
        "zip://x::s3://bucket/a",
        "",
        "s3://",
    ],
)
def test_not_allowed(url: str) -> None:
    assert not storage.allowed(url, PREFIXES)


def test_no_prefix_allows_local_files_or_all_of_the_web() -> None:
    every = ["", "/", "file://", "file:///", "local://", "http://", "https://", "data", "::"]
    for url in ("/x", "file:///x", "local:///x", "http://h/x", "https://h/x", "x"):
        assert not storage.allowed(url, every)
        assert not storage.allowed(url, [])

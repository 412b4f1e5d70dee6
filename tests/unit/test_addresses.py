"""Which addresses a webhook may reach, and that a name is looked up once."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any

import httpx
import pytest

from api.addresses import Forbidden, PublicOnly, is_private_literal, is_public


@pytest.mark.parametrize("text", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34"])
def test_public_addresses(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::",
        "64:ff9b:1::7f00:1",
        "::127.0.0.1",
        "fec0::1",
        "5f00::1",
        "192.0.0.8",
    ],
)
def test_addresses_that_are_not_public(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))
    assert is_private_literal(text)


def test_a_name_is_no_literal() -> None:
    assert not is_private_literal("example.org")


def post(url: str) -> httpx.Response:
    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=PublicOnly(), trust_env=False) as http:
            return await http.post(url, content=b"x")

    return asyncio.run(send())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0x7f.1", "2130706433"])
def test_a_private_address_is_not_connected_to(host: str) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        with pytest.raises((Forbidden, httpx.ConnectError)):
            post(f"http://{host}:{listener.getsockname()[1]}/")
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def two(host: str, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        return [(0, 0, 0, "", ("93.184.216.34", 80)), (0, 0, 0, "", ("10.0.0.1", 80))]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    with pytest.raises(Forbidden):
        post("http://rebinding.example/")
    assert asked == ["rebinding.example"]


def test_the_address_that_was_judged_is_the_one_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By its number, with the name in the Host header and the certificate check."""
    seen = []

    def one(host: str, *_: Any, **__: Any) -> list[Any]:
        return [(0, 0, 0, "", ("93.184.216.34", 443))]

    async def inner(self: Any, request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(204)

    monkeypatch.setattr(socket, "getaddrinfo", one)
    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", inner)
    assert post("https://name.example/path?x=1").status_code == 204
    assert str(seen[0].url) == "https://93.184.216.34/path?x=1"
    assert seen[0].headers["Host"] == "name.example"
    assert seen[0].extensions["sni_hostname"] == "name.example"

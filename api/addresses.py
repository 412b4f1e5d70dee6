"""Requests to addresses that a caller names, kept away from networks that are ours alone."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx

RESOLVERS = 4

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Forbidden(Exception):
    """The name leads to an address that is not public."""


class PublicOnly(httpx.AsyncBaseTransport):
    """Resolves a name once, refuses what is not public, and connects to that very address.

    Looking a name up, judging it, and letting the HTTP library look it up again would let its owner
    answer differently the second time.
    """

    def __init__(self) -> None:
        # No connection is kept: the library would take one to an address for any name on it.
        self._inner = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_keepalive_connections=0))
        # Threads of its own: names that nobody answers for must not hold the process's.
        self._resolvers = ThreadPoolExecutor(RESOLVERS, "webhook-names")

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Raises: Forbidden; httpx.ConnectError: the name leads nowhere."""
        host = request.url.raw_host.decode("ascii")
        address = await self._public_address(host, request.url.port or 0)
        request.url = request.url.copy_with(host=str(address))
        # The certificate is still that of the name, and so is the Host header.
        request.extensions = {**request.extensions, "sni_hostname": host}
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        self._resolvers.shutdown(wait=False, cancel_futures=True)
        await self._inner.aclose()

    async def _public_address(self, host: str, port: int) -> Address:
        loop = asyncio.get_running_loop()
        look_up = partial(socket.getaddrinfo, host.strip("[]"), port, type=socket.SOCK_STREAM)
        try:
            found = await loop.run_in_executor(self._resolvers, look_up)
        except (OSError, UnicodeError) as error:
            raise httpx.ConnectError(f"{host}: {error}") from None
        addresses = [ipaddress.ip_address(str(row[4][0])) for row in found]
        # One private address among public ones is reason enough to stay away from all of them.
        if not addresses or not all(map(is_public, addresses)):
            raise Forbidden("the address is not public")
        return addresses[0]


def is_private_literal(host: str) -> bool:
    """Whether the host is written as an address, and one that is not public."""
    try:
        return not is_public(ipaddress.ip_address(host))
    except ValueError:
        return False


def is_public(address: Address) -> bool:
    """Whether anyone may be reached by it: global, and no tunnel into what is not."""
    if isinstance(address, ipaddress.IPv6Address):
        teredo = address.teredo
        inside = address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)
        if inside is not None:
            return is_public(inside)
        if address in _NAT64:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address not in _UNICAST:
            return False
    elif address in _PROTOCOLS:
        return False
    return address.is_global and not address.is_multicast and not address.is_unspecified


_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_UNICAST = ipaddress.ip_network("2000::/3")  # what IANA gives out; the rest is for special uses
_PROTOCOLS = ipaddress.ip_network("192.0.0.0/24")

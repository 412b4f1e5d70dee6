"""TLS to Redis: one reading of the URL for all who connect, and certificates checked by default.

redis-py, kombu and Celery's result backend read a rediss URL each in their own way: redis-py checks
the certificate and its name, kombu checks neither when the URL names no option, and the backend
refuses one without `ssl_cert_reqs`. So the URL is read as redis-py does, and the two others are
told the result.
"""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from redis.connection import parse_url

_REQUIREMENTS = ("required", "optional", "none")


def options(url: str) -> dict[str, Any]:
    """The options by redis-py's names, e.g. `ssl_ca_certs`; none for a URL without TLS."""
    if urlsplit(url).scheme != "rediss":
        return {}
    read: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
    given = {name: value for name, value in read.items() if name.startswith("ssl_")}
    return {"ssl_cert_reqs": "required", "ssl_check_hostname": True, **given}


def without_options(url: str) -> str:
    """The URL for one who is told the options otherwise."""
    parts = urlsplit(url)
    query = [(name, value) for name, value in parse_qsl(parts.query) if name[:4] != "ssl_"]
    return parts._replace(query=urlencode(query)).geturl()


def checked(url: str) -> str:
    """The same URL.

    Raises: ValueError: it cannot be read, or its TLS options name what cannot be used.
    """
    try:
        parse_url(url)  # type: ignore[no-untyped-call]
    except ValueError:  # whose text would show a password that was not quoted
        raise ValueError("cannot be read; is the password percent-encoded?") from None
    named = dict(parse_qsl(urlsplit(url).query))
    if urlsplit(url).scheme != "rediss" and any(name.startswith("ssl_") for name in named):
        raise ValueError("ssl_ options are for a rediss:// URL")
    given = options(url)
    if given and given["ssl_cert_reqs"] not in _REQUIREMENTS:
        raise ValueError(f"ssl_cert_reqs must be one of {', '.join(_REQUIREMENTS)}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if path := given.get("ssl_ca_certs"):
            context.load_verify_locations(path)
    except OSError as error:
        raise ValueError(f"ssl_ca_certs={path}: {error.strerror or error}") from None
    try:
        if path := given.get("ssl_certfile"):
            key, password = given.get("ssl_keyfile"), given.get("ssl_password")
            context.load_cert_chain(path, key, password or "")
    except OSError as error:
        raise ValueError(f"ssl_certfile={path}: {error.strerror or error}") from None
    return url


def reason(error: BaseException) -> str:
    """What to log of a Redis that was not reached: the kind of error, or what TLS refused."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"certificate refused: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed: {cause.reason}"
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__

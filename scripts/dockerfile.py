"""What a Dockerfile's last stage will run: enough of its language for the checks and the tests."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field

COMMENT = re.compile(r"^[ \t]*#.*\n", re.MULTILINE)
OPTION = re.compile(r"--(\S+?)(?:=(\S+))?\s+")


class NotUnderstood(Exception):
    """The message quotes the instruction."""


@dataclass(frozen=True)
class Copy:
    """`COPY` of files from the build's context, not from another stage."""

    sources: tuple[str, ...]
    target: str


@dataclass
class Image:
    """What the instructions up to the end of a stage add up to.

    `entrypoint`, `command` and `healthcheck` are None where they are not given, or are given to a
    shell, which would keep signals to itself.
    """

    env: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = "root"
    ports: tuple[str, ...] = ()
    copies: tuple[Copy, ...] = ()
    runs: tuple[str, ...] = ()
    entrypoint: list[str] | None = None
    command: list[str] | None = None
    healthcheck: list[str] | None = None


@dataclass(frozen=True)
class Dockerfile:
    arguments: dict[str, str]
    stages: dict[str, Image]

    @property
    def last(self) -> Image:
        return list(self.stages.values())[-1]


def parse(text: str) -> Dockerfile:
    """Raises: NotUnderstood."""
    arguments: dict[str, str] = {}
    stages: dict[str, Image] = {}
    image = Image()
    for keyword, rest in _instructions(text):
        if keyword == "ARG":
            name, _, default = rest.partition("=")
            arguments[name] = default
        elif keyword == "FROM":
            base, _, alias = rest.partition(" AS ")
            image = _copy_of(stages.get(base, Image()))
            stages[alias or str(len(stages))] = image
        else:
            _apply(image, keyword, rest)
    return Dockerfile(arguments, stages)


def _instructions(text: str) -> list[tuple[str, str]]:
    # Comments go first: one inside a continued instruction does not end it.
    lines = COMMENT.sub("", text).replace("\\\n", " ").splitlines()
    found = [line.strip().partition(" ") for line in lines if line.strip()]
    return [(keyword.upper(), rest.strip()) for keyword, _, rest in found]


def _copy_of(image: Image) -> Image:
    """A stage goes on from another's settings; the files are its own affair."""
    return Image(
        env=dict(image.env),
        workdir=image.workdir,
        user=image.user,
        ports=image.ports,
        entrypoint=image.entrypoint,
        command=image.command,
        healthcheck=image.healthcheck,
    )


def _apply(image: Image, keyword: str, rest: str) -> None:
    match keyword:
        case "ENV":
            image.env |= dict(_pair(word) for word in shlex.split(rest))
        case "EXPOSE":
            image.ports += tuple(rest.split())
        case "COPY":
            options, words = _options(rest)
            *sources, target = words.split()
            if "from" not in options:
                image.copies += (Copy(tuple(sources), target),)
        case "RUN":
            image.runs += (rest,)
        case "HEALTHCHECK":
            kind, _, command = _options(rest)[1].partition(" ")
            image.healthcheck = _exec_form(command) if kind == "CMD" else None
        case _:
            _set(image, keyword, rest)


def _set(image: Image, keyword: str, rest: str) -> None:
    match keyword:
        case "WORKDIR":
            image.workdir = rest
        case "USER":
            image.user = rest
        case "ENTRYPOINT":
            image.entrypoint = _exec_form(rest)
        case "CMD":
            image.command = _exec_form(rest)
        case "LABEL":
            pass
        case _:
            raise NotUnderstood(f"{keyword} {rest}")


def _pair(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals:
        raise NotUnderstood(f"ENV {word}")
    return name, value


def _options(rest: str) -> tuple[dict[str, str], str]:
    options = {}
    while found := OPTION.match(rest):
        options[found[1]] = found[2] or ""
        rest = rest[found.end() :]
    return options, rest


def _exec_form(text: str) -> list[str] | None:
    try:
        words = json.loads(text)
    except ValueError:
        return None
    return words if isinstance(words, list) else None

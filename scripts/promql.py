"""What a Prometheus expression names, as far as a check needs it.

Not a parser: promtool checks the syntax; these read an expression that is known to be sound.
"""

from __future__ import annotations

import re

# What Grafana puts into an expression before Prometheus sees it.
_VARIABLES = {"$__rate_interval": "1m", "$namespace": ".*"}
_STRING = r'"(?:[^"\\]|\\.)*"'
_GROUPING = re.compile(
    r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)"  # a list of labels
)
_NAME = re.compile(r"\b[a-zA-Z_:][\w:]*\b(?!\s*\()")  # what a bracket follows is a function
_KEYWORDS = {"and", "or", "unless", "bool", "offset", "Inf", "NaN"}
_KEYWORDS |= {"by", "without", "on", "ignoring", "group_left", "group_right"}


def filled_in(expression: str) -> str:
    """The expression with values for Grafana's variables."""
    for variable, value in _VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression


def metrics(expression: str) -> set[str]:
    """The names of all metrics."""
    bare = re.sub(_STRING, "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    return set(_NAME.findall(_GROUPING.sub("", bare))) - _KEYWORDS


def labels(expression: str) -> set[str]:
    """The names of all labels that are matched or grouped by."""
    bare = re.sub(_STRING, "", expression)
    listed = [*_GROUPING.findall(bare), *re.findall(r"\{([^}]*)\}", bare)]
    return {name for part in listed for name in re.findall(r"[a-zA-Z_]\w*", part)}


def asked(expression: str) -> str:
    """The expression with each comparison answering 0 or 1 instead of leaving out.

    So an alert's condition has an answer while all is well, unless a metric or label is wrong.
    """

    def with_bool(found: re.Match[str]) -> str:
        return f"{found[1]} bool" if found[1] else found[0]

    return re.sub(rf"{_STRING}|\{{[^}}]*\}}|(==|!=|>=|<=|>|<)(?!=|\s*bool)", with_bool, expression)

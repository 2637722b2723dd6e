"""JSON as TF Serving reads it, which is not quite as Python does.

TF Serving uses RapidJSON: NaN and Infinity are numbers, what follows the document is ignored,
the first of equal keys counts, and an integer beyond 64 bits is a floating-point number.
"""

import json
import math
import re
from typing import Any, TypeAlias

from serving.embedded.status import invalid

Json: TypeAlias = Any
"""None, bool, int, float, str, list of Json or dict of str to Json."""

QUOTE_LIMIT = 1000
"""Characters of a request that an error may repeat."""

_SPACE = re.compile(r"[ \t\n\r]*")
_64_BITS = range(-(2**63), 2**64)
_DIGITS = len(str(2**64))
_TYPES = {
    type(None): "Null",
    str: "String",
    int: "Number",
    float: "Number",
    list: "Array",
    dict: "Object",
}


def parse(body: bytes) -> dict[str, Json]:
    """The object that is a request's body.

    Strings keep bytes that are not UTF-8 as surrogates (PEP 383), as `to_bytes` wants them.

    Raises:
        RequestError: it is not JSON, is nested too deep, or is not an object.
    """
    text = body.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    start = _SPACE.match(text).end()  # type: ignore[union-attr]  # it always matches
    if start == len(text):
        raise invalid("JSON Parse error: The document is empty")
    try:
        value, _ = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise invalid(f"JSON Parse error: {error.msg} at offset: {error.pos}") from None
    except OverflowError as error:
        raise invalid(f"JSON Parse error: {error}") from None
    except RecursionError:
        raise invalid("JSON Parse error: The document is nested too deep") from None
    if not isinstance(value, dict):
        raise invalid(f"JSON Value: {quote(value)} Is not object")
    return value


def quote(value: Json) -> str:
    """A value as an error repeats it: indented, and cut where it is long."""
    text = json.dumps(value, indent=4, ensure_ascii=False)
    return text if len(text) <= QUOTE_LIMIT else f"{text[:QUOTE_LIMIT]}..."


def type_name(value: Json) -> str:
    """RapidJSON's name for the type of a value."""
    if isinstance(value, bool):
        return str(value)
    return _TYPES[type(value)]


def is_integer(value: Json) -> bool:
    """Whether a value is a number written as an integer; in Python True is one as well."""
    return type(value) is int


def is_number(value: Json) -> bool:
    """Whether a value is a number."""
    return type(value) in (int, float)


def to_bytes(text: str) -> bytes:
    r"""The bytes that a string of a request stands for.

    Raises:
        RequestError: it has half a character, such as `\ud800`.
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise invalid("JSON Parse error: The surrogate pair in string is invalid.") from None


def _first_of_equal_keys(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members = dict(pairs)
    if len(members) < len(pairs):
        members = dict(reversed(pairs))
    return members


def _integer(digits: str) -> int | float:
    if len(digits) <= _DIGITS and (number := int(digits)) in _64_BITS:
        return number
    return _decimal(digits)


def _decimal(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise OverflowError("Number too big to be stored in double.")
    return number


_DECODER = json.JSONDecoder(
    object_pairs_hook=_first_of_equal_keys, parse_int=_integer, parse_float=_decimal
)

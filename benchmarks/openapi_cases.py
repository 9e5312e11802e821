"""Arbitrary requests from a published OpenAPI: right ones, wrong ones, and no requests at all.

What Schemathesis does, as far as it goes without it: bodies by the schema, the same with one part
spoilt, bytes that are no JSON, other methods, media types, keys and paths. Whatever is sent, the
answer must be no 5xx, and an error must be a problem.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import orjson

ODD_TEXTS = (
    "", " ", "\u0000", "0", "-1", "null", "../../etc/passwd", "a" * 10_000, "ü", "💥" * 20,
    "\u202e",
    "' OR 1=1 --", "<script>", "%00", "%2e%2e%2f", "\ud7ff", "1e309", "NaN", "{}", "\r\nX-A: b",
)  # fmt: skip
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 1.5, -0.0, 1e308, 2**31, 2**63, -(2**63), 2**64 - 1,
    2**64, -(2**63) - 1, 10**30, "9" * 5_000, [], {}, [[]],
    {"": None}, [None] * 50, *ODD_TEXTS,
)  # fmt: skip
RAW_BODIES = (
    b"", b"{", b"null", b"[]", b"\xff\xfe", b'{"a":NaN}', b'{"a":1e999}', b"[" * 5_000,
    b'"\\ud800"',
    b"{}" * 3, b'{"household_id":"1","household_id":"2"}', b"\x00" * 100, b"a=b&c=d",
    b'{"household_id":"\\ud800"}', b'{"household_id":"1","context":{"a":' + b"9" * 5_000 + b"}}",
)  # fmt: skip
MEDIA = (
    "application/json",
    "application/json; charset=utf-16",
    "text/plain",
    "application/xml",
    "",
    "*/*",
)
ODD_TIMES = (
    "0001-01-01T00:00:00+10:00", "9999-12-31T23:59:59-10:00", "0001-01-01T00:00:00",
    "9999-12-31T23:59:59Z", "2018-01-02T10:00:00+23:59", "1969-12-31T23:59:59.999999Z",
)  # fmt: skip
# Not in the schema, because people open them: by signed links, so without a key.
_QUERY = [
    {"name": name, "in": "query", "schema": {"type": "string"}} for name in ("expires", "signature")
]
CARDS = {
    f"/insights/{kind}/{{of}}": {
        "get": {"parameters": [{"name": "of", "in": "path", "schema": {"type": "string"}}, *_QUERY]}
    }
    for kind in ("stores", "households")
}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE")
# Chances.
_RARELY, _SOMETIMES, _HALF, _MOSTLY = 0.2, 0.3, 0.5, 0.8
_DEPTH = 6
_SERVER_ERROR = 500
_CLIENT_ERROR = 400
_PROBLEM = "application/problem+json"


@dataclass(frozen=True)
class Case:
    """One request."""

    method: str
    path: str
    headers: Mapping[str, str]
    content: bytes


class Cases:
    """Makes cases of a schema, the same ones for the same seed."""

    def __init__(self, schema: Mapping[str, Any], *, key: str, seed: int) -> None:
        self._schema = schema
        self._key = key
        self._random = random.Random(seed)  # noqa: S311 - no secret depends on it
        self._operations = [
            (method.upper(), path, operation)
            for path, methods in schema["paths"].items()
            for method, operation in methods.items()
        ]

    def next(self) -> Case:
        rng = self._random
        method, path, operation = rng.choice(self._operations)
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", self._in_path(parameter["schema"]))
        queries = [p["name"] for p in operation.get("parameters", []) if p["in"] == "query"]
        if queries and rng.random() < _HALF:
            values = {name: str(rng.choice(ODD_VALUES)) for name in queries}
            path = f"{path}?{httpx.QueryParams(values)}"
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
        content = self._body(operation)
        for spoil in (self._method, self._media, self._authorization):
            if rng.random() < _RARELY / 4:
                method, content = spoil(method, content, headers)
        return Case(method=method, path=path, headers=headers, content=content)

    def _body(self, operation: Mapping[str, Any]) -> bytes:
        body = operation.get("requestBody")
        if body is None:
            return b""
        if self._random.random() < _RARELY / 2:
            return self._random.choice(RAW_BODIES)
        value = self._value(body["content"]["application/json"]["schema"], depth=0)
        if self._random.random() < _HALF:
            value = self._spoilt(value)
        try:
            return orjson.dumps(value)
        except TypeError:
            # More than 64 bits, or text that is no Unicode: as Python writes it.
            import json

            return json.dumps(value).encode()

    def _value(self, schema: Mapping[str, Any], *, depth: int) -> Any:
        rng = self._random
        schema = self._resolved(schema)
        if depth > _DEPTH:
            return None
        if schema.get("examples") and rng.random() < _SOMETIMES:
            return rng.choice(schema["examples"])
        for choice in ("anyOf", "oneOf"):
            if choice in schema:
                return self._value(rng.choice(schema[choice]), depth=depth + 1)
        if "enum" in schema:
            return rng.choice(schema["enum"])
        if "const" in schema:
            return schema["const"]
        makers: dict[str, Callable[[Mapping[str, Any], int], Any]] = {
            "object": self._object,
            "array": self._array,
            "string": self._text,
            "integer": self._integer,
            "number": lambda s, d: self._integer(s, d) + rng.random(),
            "boolean": lambda *_: rng.random() < _HALF,
        }
        made = makers.get(schema.get("type", ""))
        return made(schema, depth) if made is not None else None

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        required = schema.get("required", [])
        made = {
            name: self._value(part, depth=depth + 1)
            for name, part in schema.get("properties", {}).items()
            if name in required or self._random.random() < _HALF
        }
        extra = schema.get("additionalProperties")
        if isinstance(extra, dict):
            for _ in range(self._random.randrange(4)):
                made[self._text({}, depth) or "a"] = self._value(extra, depth=depth + 1)
        return made

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        low = schema.get("minItems", 0)
        many = self._random.randint(low, min(schema.get("maxItems", 5), low + 5))
        return [self._value(schema.get("items", {}), depth=depth + 1) for _ in range(many)]

    def _text(self, schema: Mapping[str, Any], _depth: int) -> str:
        formats = {"date": "2018-01-01", "date-time": "2018-01-01T10:00:00"}
        if schema.get("format") in formats and self._random.random() < _MOSTLY:
            if schema["format"] == "date-time" and self._random.random() < _SOMETIMES:
                return self._random.choice(ODD_TIMES)
            return formats[schema["format"]]
        if self._random.random() < _SOMETIMES:
            return self._random.choice(ODD_TEXTS)
        low = schema.get("minLength", 1)
        length = self._random.randint(low, min(schema.get("maxLength", 20), low + 20))
        return "".join(self._random.choice("0123456789abcXYZ _-é") for _ in range(length))

    def _integer(self, schema: Mapping[str, Any], _depth: int) -> int:
        low = schema.get("minimum", schema.get("exclusiveMinimum", -5))
        high = schema.get("maximum", low + 100)
        if self._random.random() < _RARELY:
            return int(self._random.choice((low, high, low - 1, high + 1)))
        return self._random.randint(int(low), int(high))

    def _spoilt(self, value: Any) -> Any:
        """The value with one part somewhere in it replaced, dropped or added."""
        rng = self._random
        if isinstance(value, dict) and value and rng.random() < _MOSTLY:
            name = rng.choice(list(value))
            kind = rng.randrange(4)
            if kind == 0:
                return {k: v for k, v in value.items() if k != name}
            if kind == 1:
                return {**value, str(rng.choice(ODD_TEXTS)): rng.choice(ODD_VALUES)}
            return {**value, name: self._spoilt(value[name])}
        if isinstance(value, list) and value and rng.random() < _MOSTLY:
            place = rng.randrange(len(value))
            return [*value[:place], self._spoilt(value[place]), *value[place + 1 :]]
        return rng.choice(ODD_VALUES)

    def _in_path(self, schema: Mapping[str, Any]) -> str:
        if self._random.random() < _HALF:
            return quote(str(self._value(schema, depth=0)), safe="")
        return str(self._random.choice(("1", "a%20b", "%F0%9F%92%A5", "..%2f", "x" * 300, "%00")))

    def _method(self, _: str, content: bytes, __: dict[str, str]) -> tuple[str, bytes]:
        return self._random.choice(METHODS), content

    def _media(self, method: str, content: bytes, headers: dict[str, str]) -> tuple[str, bytes]:
        headers["Content-Type"] = self._random.choice(MEDIA)
        return method, content

    def _authorization(
        self, method: str, content: bytes, headers: dict[str, str]
    ) -> tuple[str, bytes]:
        odd = (
            "",
            "Bearer",
            "Bearer x",
            "Basic a:b",
            "Bearer lg_1_2",
            f"bearer  {self._key}",
            "x" * 5_000,
        )
        headers["Authorization"] = self._random.choice(odd)
        return method, content

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        while "$ref" in schema:
            found: Any = self._schema
            for part in schema["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            schema = found
        return schema


def fuzz(
    client: httpx.Client, *, key: str, cases: int, seed: int, only: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Send cases to a running service.

    Args:
        client: Of the service.
        key: With every scope.
        cases: How many.
        seed: Other cases for another one.
        only: These paths; all of the schema and the cards without any.

    Returns:
        How many were sent, by status, the 5xx among them, and errors that are no problem.
    """
    schema = client.get("/openapi.json").json()
    schema["paths"] |= CARDS
    schema["paths"] = {p: said for p, said in schema["paths"].items() if not only or p in only}
    made = Cases(schema, key=key, seed=seed)
    statuses: Counter[int] = Counter()
    formless: list[str] = []
    failed: list[str] = []
    for _ in range(cases):
        case = made.next()
        reply = client.request(case.method, case.path, headers=case.headers, content=case.content)
        statuses[reply.status_code] += 1
        said = f"{case.method} {case.path} {case.content[:200]!r}: {reply.status_code}"
        if reply.status_code >= _SERVER_ERROR:
            failed.append(f"{said} {reply.text[:200]}")
            continue
        media = reply.headers.get("content-type", "")
        wrong = reply.status_code >= _CLIENT_ERROR and case.method != "HEAD"
        # A card says to people why it does not open.
        card = case.path.startswith("/insights/") and media.startswith("text/html")
        if wrong and not card and not media.startswith(_PROBLEM):
            formless.append(said)
    return {
        "fuzz_cases": cases,
        "fuzz_server_errors": len(failed),
        "fuzz_errors_without_problem": len(formless),
        "fuzz_statuses": {str(status): n for status, n in sorted(statuses.items())},
        "fuzz_failed": [*failed, *formless][:5],
    }

"""The OpenAPI 3.1 description of a server, generated from what its operations say of themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from collab.agents.operations import DESCRIBED
from simnet.operations import COMMON, Answer, Operation

_PROBLEM = "application/problem+json"
_VISIBLE = r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$"
_MSGPACK = "application/msgpack"
_BYTES = {"type": "string", "format": "binary"}
_BINARY = {"type": "string", "format": "binary", "description": "two msgpack objects, see docs/protocol.md, Bodies"}


def api_description(operations: Sequence[Operation] = DESCRIBED) -> dict[str, Any]:
    """The description, as JSON objects."""
    paths: dict[str, Any] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "collab",
            "version": "1",
            "summary": "One server of a collaborative learning run, as its sites see it",
            "description": "docs/protocol.md says in words what stands here, and how bodies are made.",
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": {"Problem": _problem_schema()},
            "securitySchemes": {
                "certificate": {"type": "mutualTLS", "description": "a certificate that names site and tenant"},
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            },
        },
        "security": [{"certificate": []}, {"token": []}, {}],
    }


def _problem_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "description": "problem details (RFC 9457)",
        "required": ["type", "status", "detail"],
        "properties": {
            "type": {"type": "string", "pattern": "^urn:problem:[a-z-]+$"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string"},
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [*_parameters(operation)],
        "responses": _responses((*operation.answers, *COMMON), has_bodies=operation.method != "HEAD"),
    }
    if operation.sends:
        described["requestBody"] = {
            "description": f"{operation.sends}. Of the kinds: {', '.join(operation.sends_kinds)}.",
            "content": {operation.sends_type: {"schema": _BINARY if operation.sends_type == _MSGPACK else _BYTES}},
            "required": True,
        }
    return described


def _parameters(operation: Operation) -> Iterable[dict[str, Any]]:
    for name, says in operation.parameters.items():
        text = {"type": "string", "minLength": 1}
        yield {"name": name, "in": "path", "required": True, "description": says, "schema": text}
    says = "Who sends. With a certificate or a token it must be whom they prove, or be left out."
    yield _header("Boundary-From", says, required=not operation.open_to_all)
    if operation.sends:
        yield _header("Boundary-Kind", "The kinds of content in the body, separated by commas. Default: control.")
    for name, says in operation.headers.items():
        pattern = operation.patterns.get(name)
        yield _header(name, says, required=pattern is not None, pattern=pattern or _VISIBLE)


def _header(name: str, says: str, *, required: bool = False, pattern: str = _VISIBLE) -> dict[str, Any]:
    text = {"type": "string", "pattern": pattern, "maxLength": 200}
    return {"name": name, "in": "header", "required": required, "description": says, "schema": text}


def _responses(answers: Sequence[Answer], *, has_bodies: bool) -> dict[str, Any]:
    by_status: dict[int, list[Answer]] = {}
    for answer in answers:
        by_status.setdefault(answer.status, []).append(answer)
    described = {str(status): _response(by_status[status]) for status in sorted(by_status)}
    if not has_bodies:
        for response in described.values():
            response.pop("content", None)
    return described


def _response(answers: Sequence[Answer]) -> dict[str, Any]:
    """The answers of one status: several refusals may share it, told apart by their codes."""
    told: dict[str, str] = {}
    for answer in answers:
        told.setdefault(answer.code, answer.says)  # what an operation says of a code goes before what is common
    described: dict[str, Any] = {
        "description": "; ".join(f"`{code}`: {says}" if code else says for code, says in told.items())
    }
    headers = {name: says for answer in answers for name, says in answer.headers.items()}
    if headers:
        described["headers"] = {
            name: {"description": says, "schema": {"type": "string"}} for name, says in headers.items()
        }
    content = _content(answers, [code for code in told if code])
    if content:
        described["content"] = content
    return described


def _content(answers: Sequence[Answer], codes: Sequence[str]) -> dict[str, Any]:
    if codes:
        urns = {"properties": {"type": {"enum": [f"urn:problem:{code}" for code in codes]}}}
        return {_PROBLEM: {"schema": {"allOf": [{"$ref": "#/components/schemas/Problem"}, urns]}}}
    return {
        answer.content_type: {"schema": _BINARY if answer.content_type == _MSGPACK else {"type": "object"}}
        for answer in answers
        if answer.kinds
    }

"""What a request may bring: one small JSON object, said to be one."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request

from examples.http.answers import BadRequest

LIMIT_BYTES = 16_384


async def json_object(request: Request) -> dict[str, Any]:
    """Raises `BadRequest`."""
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        # A browser sends this type to another site only after asking that site, so no foreign page can post here.
        raise BadRequest(415, f"the body is {kind or 'of no type'}", "send Content-Type: application/json")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LIMIT_BYTES:
            raise BadRequest(413, f"the body is larger than {LIMIT_BYTES:,} bytes", "send the command's fields alone")
    try:
        read = json.loads(bytes(body))
    except (ValueError, RecursionError) as error:
        raise BadRequest(400, f"the body is no JSON: {error}", 'send an object, as {"amount": 500}') from error
    if not isinstance(read, dict):
        raise BadRequest(400, "the body is no JSON object", 'send an object, as {"amount": 500}')
    return read

"""Bodies of requests and responses, as the web framework has them."""

from fastapi import Request, Response

from understudy.serving.requests import RefusedRequest
from understudy.serving.responses import error_body


async def received_body(request: Request, limit: int) -> bytes:
    """The body of a request; of one that is too large the rest is read too, for clients read no response before.

    Raises:
        RefusedRequest: with status 413.
    """
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= limit:
            chunks.append(chunk)
    if size > limit:
        raise RefusedRequest(413, f"the body has {size} bytes and the limit is {limit}; send less")
    return b"".join(chunks)


def error_response(refused: RefusedRequest) -> Response:
    """An error as a response."""
    response = json_response(error_body(refused), status=refused.status)
    if refused.retry_after_s:
        response.headers["retry-after"] = str(refused.retry_after_s)
    return response


def json_response(body: bytes, status: int = 200) -> Response:
    """A response whose body is JSON already."""
    return Response(body, status, media_type="application/json")

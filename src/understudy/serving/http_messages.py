"""Responses, as the web framework has them."""

from fastapi import Response

from understudy.serving.requests import RefusedRequest
from understudy.serving.responses import error_body


def error_response(refused: RefusedRequest) -> Response:
    """An error as a response."""
    response = json_response(error_body(refused), status=refused.status)
    if refused.retry_after_s:
        response.headers["retry-after"] = str(refused.retry_after_s)
    return response


def json_response(body: bytes, status: int = 200) -> Response:
    """A response whose body is JSON already."""
    return Response(body, status, media_type="application/json")

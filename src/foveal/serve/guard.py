"""Who may use the endpoint."""

import hmac

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from foveal.serve.reply import error_response
from foveal.serve.request import Refused


class Guard:
    """Lets in who has the key; without a key, everybody but web pages, which any page in a browser could be.

    Args:
        app: What is guarded.
        key: What has to be sent as a bearer token; None asks for none.
    """

    def __init__(self, app: ASGIApp, key: str | None):
        self._app, self._key = app, key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or hand it on."""
        if scope["type"] == "http" and (refused := self._refusal(Request(scope))) is not None:
            return await error_response(refused)(scope, receive, send)
        await self._app(scope, receive, send)

    def _refusal(self, request: Request) -> Refused | None:
        if request.url.path == "/health":
            return None
        if self._key is None:
            if "origin" not in request.headers:
                return None
            return Refused("web pages are not answered: start the server with --api-key-env", status=403)
        given = request.headers.get("authorization", "").encode()
        if hmac.compare_digest(given, f"Bearer {self._key}".encode()):
            return None
        return Refused("that is not the key of this server", code="invalid_api_key", status=401)

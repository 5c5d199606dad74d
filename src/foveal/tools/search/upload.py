"""Making a picture public for a while: Google Lens takes the address of a picture, not the picture.

Whoever learns the address can read the picture until it expires. An uploader of your own is any object with the one
method of `Uploader`. `S3Uploader` puts pictures into a private bucket of S3-compatible storage (AWS, Cloudflare R2,
MinIO, ...) and gives out signed addresses: signature version 4 in the query, for the upload as for the reading, as in
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html.
"""

import asyncio
import hashlib
import hmac
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal, NamedTuple, Protocol
from urllib.parse import quote

import httpx
from PIL import Image

from foveal.tools.search.providers.http import MAX_BYTES, Trouble, check_url, exchange
from foveal.tools.search.settings import S3Settings
from foveal.trajectory import image_ref, to_rgb

MAX_SIDE = 1600
"""Longer pictures are scaled down before they are uploaded, in pixels."""
UPLOAD_SECONDS = 60.0


class Uploader(Protocol):
    """Makes pictures public."""

    async def upload(self, image: Image.Image) -> str:
        """Put a picture where a search host can fetch it, and return its address.

        Raises:
            SearchError: That failed.
        """


class S3Keys(NamedTuple):
    """The keys of a bucket."""

    access: str
    secret: str
    token: str | None = None
    """Of a session, if the other two are of one."""


class S3Uploader:
    """Uploads to S3-compatible storage. Pictures stay there: let the bucket delete them after a day.

    Args:
        settings: The bucket.
        keys: Its keys.
        transport: Another httpx transport.
        now: The time.

    Raises:
        ConfigError: The address of the storage is none.
    """

    def __init__(
        self,
        settings: S3Settings,
        keys: S3Keys,
        transport: httpx.AsyncBaseTransport | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        self._url = f"{check_url(settings.endpoint)}/{settings.bucket}/{quote(settings.prefix)}"
        self._settings = settings
        self._keys = keys
        self._transport = transport
        self._now = now

    async def upload(self, image: Image.Image) -> str:
        """Put a picture into the bucket and return an address that can be read until it expires.

        Raises:
            SearchError: The storage did not take it.
        """
        name, content = await asyncio.to_thread(_encoded, image)
        url = f"{self._url}{name}.jpg"
        request = httpx.Request(
            "PUT", self._signed("PUT", url), content=content, headers={"Content-Type": "image/jpeg"}
        )
        try:
            async with asyncio.timeout(UPLOAD_SECONDS):
                response, said = await exchange(request, self._transport, MAX_BYTES)
        except TimeoutError:
            raise Trouble("the picture could not be uploaded in time", "check the uploader's endpoint") from None
        except (httpx.HTTPError, OSError) as error:
            raise Trouble(f"the picture could not be uploaded: {type(error).__name__}") from None
        if response.status_code not in (200, 201, 204):
            # Only the code: the rest of the answer repeats what was signed.
            code = re.search(rb"<Code>(\w{1,60})</Code>", said)
            told = f"HTTP {response.status_code} {code[1].decode() if code else ''}".strip()
            passing = response.status_code >= 500 or response.status_code == 429
            raise Trouble(
                f"the storage did not take the picture: {told}",
                "check bucket, region and keys of the uploader",
                kind="passing" if passing else "shape",
            )
        return self._signed("GET", url)

    def _signed(self, method: Literal["GET", "PUT"], url: str) -> str:
        return signed(method, url, self._keys, self._settings.region, self._settings.expires, self._now())


def signed(method: Literal["GET", "PUT"], url: str, keys: S3Keys, region: str, expires: int, now: datetime) -> str:
    """An address that allows one method for `expires` seconds, signed with signature version 4.

    Args:
        method: GET or PUT.
        url: Of the object, its path encoded, without a query.
        keys: Whose right it is.
        region: Of the storage.
        expires: Seconds.
        now: The time, with its zone.
    """
    time = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    scope = f"{time[:8]}/{region}/s3/aws4_request"
    fields = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{keys.access}/{scope}",
        "X-Amz-Date": time,
        "X-Amz-Expires": str(expires),
        "X-Amz-SignedHeaders": "host",
    }
    if keys.token:
        fields["X-Amz-Security-Token"] = keys.token
    query = "&".join(f"{name}={quote(value, safe='-_.~')}" for name, value in sorted(fields.items()))
    target = httpx.URL(url)
    host = target.netloc.decode("ascii")
    request = "\n".join(
        [method, target.raw_path.decode("ascii"), query, f"host:{host}", "", "host", "UNSIGNED-PAYLOAD"]
    )
    text = "\n".join([fields["X-Amz-Algorithm"], time, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = b"AWS4" + keys.secret.encode()
    for part in scope.split("/"):
        key = _hmac(key, part)
    return f"{url}?{query}&X-Amz-Signature={_hmac(key, text).hex()}"


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def _encoded(image: Image.Image) -> tuple[str, bytes]:
    """Hash of the pixels, and the picture as JPEG."""
    picture = to_rgb(image)
    name = image_ref(picture).sha256
    picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return name, buffer.getvalue()

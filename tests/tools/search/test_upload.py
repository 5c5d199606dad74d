"""Uploading to S3-compatible storage, signed as AWS documents it."""

import asyncio
import io
from datetime import UTC, datetime

import httpx
import pytest
from PIL import Image

from foveal.errors import ConfigError
from foveal.tools.search.providers.http import Trouble
from foveal.tools.search.settings import S3Settings
from foveal.tools.search.upload import MAX_SIDE, S3Keys, S3Uploader, signed
from foveal.trajectory import image_ref

EXAMPLE = S3Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
"""The example of AWS's documentation: nobody's keys."""
NOW = datetime(2013, 5, 24, tzinfo=UTC)
PICTURE = Image.linear_gradient("L").convert("RGB")


def upload(handle, picture=PICTURE, keys=EXAMPLE, **settings):
    uploader = S3Uploader(
        S3Settings(**{"bucket": "mine", "endpoint": "http://127.0.0.1:9000", **settings}),
        keys,
        httpx.MockTransport(handle),
        lambda: NOW,
    )
    return asyncio.run(uploader.upload(picture))


def test_the_example_of_awss_documentation():
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html"""
    url = signed("GET", "https://examplebucket.s3.amazonaws.com/test.txt", EXAMPLE, "us-east-1", 86400, NOW)
    assert url == (
        "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256"
        "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )


def test_a_picture_is_put_and_its_address_can_be_read():
    seen = []

    def handle(request):
        seen.append(request)
        return httpx.Response(200)

    url = httpx.URL(upload(handle))
    [request] = seen
    path = f"/mine/foveal/{image_ref(PICTURE).sha256}.jpg"
    assert (request.method, request.url.path, url.path) == ("PUT", path, path)
    assert url.params["X-Amz-Expires"] == "3600"
    assert url.params["X-Amz-Signature"] != request.url.params["X-Amz-Signature"]  # of another method
    with Image.open(io.BytesIO(request.content)) as sent:
        assert (sent.format, sent.size) == ("JPEG", PICTURE.size)
    # What goes over the wire is what was signed.
    assert str(request.url) == signed("PUT", f"http://127.0.0.1:9000{path}", EXAMPLE, "us-east-1", 3600, NOW)
    assert EXAMPLE.secret not in str(url) + str(request.url) + str(request.headers)


def test_a_prefix_with_spaces_a_session_and_a_large_transparent_picture():
    seen = []

    def handle(request):
        seen.append(request)
        return httpx.Response(204)

    keys = S3Keys("a", "b", "tok+en/=")
    url = upload(handle, Image.new("RGBA", (4000, 10)), keys, prefix="my pictures/é/", region="auto")
    assert "/mine/my%20pictures/%C3%A9/" in url and "X-Amz-Security-Token=tok%2Ben%2F%3D" in url
    assert seen[0].url.raw_path.decode().partition("?")[0] == httpx.URL(url).raw_path.decode().partition("?")[0]
    with Image.open(io.BytesIO(seen[0].content)) as sent:
        assert max(sent.size) == MAX_SIDE


def test_a_refusal_names_the_code_and_nothing_that_was_signed():
    body = "<Error><Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>AKIA</AWSAccessKeyId><StringToSign>s3cret"
    for status, kind in ((403, "shape"), (503, "passing"), (307, "shape")):
        with pytest.raises(Trouble) as raised:
            upload(lambda request, status=status: httpx.Response(status, text=body))
        assert raised.value.kind == kind
        assert raised.value.what.endswith(f"HTTP {status} SignatureDoesNotMatch")


def test_storage_that_cannot_be_reached():
    def fail(request):
        raise httpx.ConnectError("refused by http://127.0.0.1:9000/?X-Amz-Signature=1")

    with pytest.raises(Trouble) as raised:
        upload(fail)
    assert raised.value.kind == "passing" and "Signature" not in raised.value.what


def test_an_endpoint_that_is_none():
    with pytest.raises(ConfigError):
        upload(lambda request: httpx.Response(200), endpoint="s3.example.com")

"""What search by picture needs besides the provider: the picture made public, the thumbnails of the hits fetched."""

import asyncio
import base64
import io
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from PIL import Image, ImageOps

from foveal.errors import SearchError
from foveal.tools.search.fetch import Fetcher
from foveal.tools.search.providers.http import Trouble
from foveal.tools.search.upload import Uploader
from foveal.tools.session import fit_picture
from foveal.trajectory import ImageRef, ImageStore, SearchHit, to_rgb

MAX_PIXELS = 20_000_000
"""Largest picture that is decoded for a thumbnail."""
THUMBNAIL = 448
"""Longest side of a thumbnail in pixels; smaller ones are kept as they are."""
NO_UPLOADER = "it takes the public address of a picture, and no uploader is set that could make the picture public"

log = logging.getLogger(__name__)


class Match(NamedTuple):
    """A hit whose thumbnail is not fetched yet."""

    hit: SearchHit
    thumbnail: Any
    """Its address, if it is a string."""


class Lens:
    """Makes pictures public and fetches thumbnails.

    Args:
        uploader: None: every search fails and says that it needs one.
        fetcher: Fetches thumbnails.
    """

    def __init__(self, uploader: Uploader | None, fetcher: Fetcher | None = None):
        self._uploader = uploader
        self._fetcher = fetcher or Fetcher()

    async def publish(self, image: Image.Image) -> str:
        """The address of a picture, public for a while.

        Raises:
            SearchError: There is no uploader, or it failed.
        """
        if self._uploader is None:
            raise Trouble(f"the picture cannot be searched for: {NO_UPLOADER}", "set uploader", kind="shape")
        return await self._uploader.upload(image)

    async def with_thumbnails(self, matches: Sequence[Match], images: ImageStore) -> list[SearchHit]:
        """The hits, with those thumbnails that could be fetched put into `images`; no hit is lost for want of one."""
        refs = await asyncio.gather(*(self._thumbnail(match.thumbnail, images) for match in matches))
        return [match.hit.model_copy(update={"thumbnail": ref}) for match, ref in zip(matches, refs, strict=True)]

    async def _thumbnail(self, address: Any, images: ImageStore) -> ImageRef | None:
        if not isinstance(address, str):
            return None
        try:
            if address.startswith("data:"):
                content = base64.b64decode(address.partition(",")[2])
            else:
                content = (await self._fetcher.get(address)).content
            return await asyncio.to_thread(lambda: images.put(small_picture(content)))
        except (SearchError, ValueError) as error:
            log.info("a hit is shown without its thumbnail: %s", error)
            return None


def small_picture(content: bytes) -> Image.Image:
    """The first frame of a picture file of a stranger, no side longer than `THUMBNAIL`, fit for vision models.

    Raises:
        ValueError: It is too large, damaged or no picture.
    """
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "WEBP", "GIF", "BMP")) as file:
            if file.width * file.height > MAX_PIXELS:
                raise ValueError(f"a picture of more than {MAX_PIXELS} pixels")
            picture = to_rgb(ImageOps.exif_transpose(file))
    except ValueError:
        raise
    except Exception as error:  # the decoders of Pillow raise nearly anything for a file that was made to break them
        raise ValueError(f"not a picture: {type(error).__name__}") from None
    picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    return fit_picture(picture)

"""What an HTTP server says about when to try again."""

import email.utils
import time

import httpx


def retry_after(response: httpx.Response) -> float | None:
    """Seconds of the `Retry-After` header, which holds a number or a date; None if it holds neither."""
    header = response.headers.get("Retry-After", "")
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(seconds, 0.0) if seconds == seconds else None

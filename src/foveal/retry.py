"""What an HTTP server says about when to try again."""

import email.utils
import time

import httpx


def retry_after(response: httpx.Response) -> float | None:
    """Seconds of the `Retry-After` header, which holds a number or a date; None if it holds neither.

    A date without a time zone is one of GMT, as all dates of HTTP are.
    """
    header = response.headers.get("Retry-After", "")
    try:
        seconds = float(header)
    except ValueError:
        try:
            parsed = email.utils.parsedate_tz(header)
            if parsed is None:
                return None
            seconds = email.utils.mktime_tz(parsed) - time.time()
        except (ValueError, OverflowError):
            return None
    return max(seconds, 0.0) if seconds == seconds else None

import email.utils
import time

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.retry import retry_after


def waits(header: str) -> float | None:
    return retry_after(httpx.Response(429, headers={"Retry-After": header.encode("latin-1")}))


def test_seconds_and_dates():
    assert waits("7") == 7 and waits("0.5") == 0.5 and waits("-3") == 0
    ahead = waits(email.utils.formatdate(time.time() + 60, usegmt=True))
    assert ahead is not None and 50 < ahead <= 60
    assert waits(email.utils.formatdate(0, usegmt=True)) == 0
    assert retry_after(httpx.Response(429)) is None


def test_a_date_without_a_zone_is_one_of_gmt_wherever_the_machine_stands(monkeypatch):
    now = int(time.time())
    try:
        for zone in ("EAST-9", "WEST9", "GMT0"):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            for header in (time.asctime(time.gmtime(now + 3600)), email.utils.formatdate(now + 3600)):
                ahead = waits(header)
                assert ahead is not None and 0 < ahead <= 3600, (zone, header)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    "header", ["", "soon", "nan", "Mon, 32 Jan 2026 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 -2359"]
)
def test_what_is_neither_says_nothing_or_a_number(header):
    wait = waits(header)
    assert wait is None or wait >= 0


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40))
def test_no_header_is_too_odd(header):
    wait = waits(header)
    assert wait is None or wait >= 0

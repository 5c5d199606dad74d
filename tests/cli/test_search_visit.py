import pytest


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--visit", "http://127.0.0.1:9/"), "not a public address"),
        (("--visit", "http://169.254.169.254/latest/meta-data"), "not a public address"),
        (("--visit", "zebra"), "only http and https"),
        (("zebra", "--visit", "https://example.org"), "without searching"),
    ],
)
def test_pages_that_are_not_read(foveal, words, told):
    failed = foveal("search", *words)
    assert failed.returncode in (1, 2) and told in failed.stderr
    assert "Traceback" not in failed.stderr

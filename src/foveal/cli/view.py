"""`foveal view`: draw a saved run or a curation as web pages."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console


def view(
    run: Path,
    *,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    open_page: Annotated[bool, Parameter(name="--open", negative="")] = False,
) -> None:
    """Draw a saved run, or a curation, as web pages that open from disk, with no server and no network.

    Args:
        run: The folder of the run; or of a curation whose card was written (foveal curate card).
        out: Write the pages here, with a copy of the pictures, to share them; by default into the folder itself.
        open_page: Open the first page in the browser.
    """
    import webbrowser

    from foveal.view import holds_curation, render_curation, render_run

    page = (render_curation(run, out) if holds_curation(run) else render_run(run, out)).resolve()
    Console(highlight=False).print(str(page), soft_wrap=True, markup=False)
    if open_page:
        webbrowser.open(page.as_uri())

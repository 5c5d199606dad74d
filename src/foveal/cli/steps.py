"""The steps of a trajectory in the terminal, each as soon as it is done."""

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.syntax import Syntax
from rich.text import Text

from foveal.cli.common import plain
from foveal.trajectory import CellResult, Observation, SearchHit, StopReason, Trajectory, Turn
from foveal.view.outcome import glyph, stop_text
from foveal.view.words import count, pieces, seconds

MAX_LINES = 40
"""Lines of one output in the terminal; all of them are on the page."""


def show_turn(number: int, turn: Turn, console: Console) -> None:
    """Print one turn: thought, action, what came back."""
    kind = glyph(turn)
    spent = f"  {seconds(turn.seconds)}" if turn.seconds else ""
    title = Text.assemble((f"turn {number}", "bold"), f"  {plain(kind.words)}", (spent, "dim"))
    console.print(Rule(title, align="left", style="dim"))
    code = turn.call.arguments.get("code") if turn.call and turn.call.tool == "code" else None
    for piece in pieces(turn.text, code if isinstance(code, str) else None):
        if piece.kind != "answer" or kind.letter != "A":  # the answer comes last, after the turns
            console.print(_piece(piece.kind, plain(piece.text)))
    if turn.finish == "length":
        console.print(Text("cut at the token limit of a turn", "red"))
    if turn.observation is not None:
        console.print(Padding(_observation(turn.observation), (0, 0, 0, 2)))


def show_end(trajectory: Trajectory, console: Console) -> None:
    """Print the answer, or why there is none."""
    console.print(Rule(style="dim"))
    spent = f"{count(len(trajectory.turns), 'turn')}, {seconds(trajectory.seconds)}"
    if trajectory.stop_reason is StopReason.ANSWERED:
        console.print(Text.assemble((plain(trajectory.answer or ""), "bold green"), (f"   {spent}", "dim")))
        return
    console.print(Text.assemble(("no answer: ", "bold red"), stop_text(trajectory.stop_reason), (f"   {spent}", "dim")))
    if trajectory.error:
        console.print(Text(plain(trajectory.error), "red"), soft_wrap=True)


def _piece(kind: str, text: str) -> RenderableType:
    if kind == "code":
        return Syntax(text, "python", theme="ansi_dark", background_color="default", word_wrap=True)
    if kind == "answer":
        return Text(text, "bold green")
    if kind == "tool_call":
        return Text(text, "cyan")
    return Text(text, "dim italic" if kind == "think" else "")


def _observation(seen: Observation) -> RenderableType:
    if seen.error is not None:
        return Text(f"{seen.error.kind} error: {plain(seen.error.message)}", "red")
    if seen.cell is not None:
        return _cell(seen.cell)
    hits = [_hit(number, hit) for number, hit in enumerate(seen.hits or (), start=1)]
    return Group(*hits) if hits else Text("nothing found", "dim")


def _cell(cell: CellResult) -> RenderableType:
    shown = [_output(cell.stdout, ""), _output(cell.stderr, "red"), _output(cell.result or "", "")]
    if cell.status != "ok":
        shown.append(Text(f"code {cell.status}", "red"))
    shown += [Text(f"picture {ref.width} × {ref.height}", "magenta") for ref in cell.images]
    lines = [line for line in shown if line is not None]
    return Group(*lines) if lines else Text("no output", "dim")


def _output(text: str, style: str) -> Text | None:
    if not text.strip():
        return None
    lines = plain(text).rstrip().split("\n")
    shown = Text("\n".join(lines[:MAX_LINES]), style)
    if len(lines) > MAX_LINES:
        shown.append(f"\n… {len(lines) - MAX_LINES} more lines on the page", "dim")
    return shown


def _hit(number: int, hit: SearchHit) -> Text:
    picture = f"  picture {hit.thumbnail.width} × {hit.thumbnail.height}" if hit.thumbnail else ""
    words = Text.assemble(
        f"{number}. ", (plain(hit.title), "bold"), (picture, "magenta"), ("  " + plain(hit.link or ""), "dim")
    )
    if hit.snippet:
        words.append(f"\n   {plain(hit.snippet)}")
    return words

"""Every error that foveal raises, attributed to the boundary that failed.

    FovealError
    ├── ConfigError          a setting, flag or TOML file of the user
    ├── InputError           a file or value that the user handed over (picture, question set, index folder)
    ├── RecordError          a saved trajectory file that cannot be read as written
    ├── MissingDependency    a package that this command needs and is not installed
    ├── SandboxError         the code sandbox itself (not the model's code: that is an observation)
    │   └── IsolationError   this machine offers no isolation, so the sandbox refuses to run
    ├── SearchError          a search provider or index (the agent turns it into an observation)
    ├── PolicyError          the model endpoint or checkpoint (ends a trajectory with StopReason.POLICY_ERROR)
    └── TrainingError        tokens, loss or a training run

A bad rollout is data: it is recorded on the trajectory. Only a mistake of the user or of the program raises.
"""


class FovealError(Exception):
    """Base of all errors for users: what failed, and the fix.

    Args:
        what: One sentence: what failed, and where (file, line, key).
        fix: One sentence or command that mends it, if there is one.
    """

    def __init__(self, what: str, fix: str | None = None):
        super().__init__(what)
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what}\n  fix: {self.fix}" if self.fix else self.what


class ConfigError(FovealError):
    """A setting, flag or TOML file cannot be used as given."""


class InputError(FovealError):
    """A file or value that the user handed over cannot be used."""


class RecordError(FovealError):
    """A saved trajectory file or its image folder cannot be read as written."""


class MissingDependency(FovealError):
    """A package that this command needs is not installed."""


class SandboxError(FovealError):
    """The sandbox failed (not the code in it)."""


class IsolationError(SandboxError):
    """This machine offers no isolation, and the user has not asked to run without."""


class SearchError(FovealError):
    """A search provider or index failed, or what was asked for cannot be had.

    Args:
        what: What failed.
        fix: What mends it.
        of_request: Whether what was asked for is to blame, and not who was asked: a query that is refused, an address
            that is no page. Asked again, it would fail again.
    """

    def __init__(self, what: str, fix: str | None = None, of_request: bool = False):
        super().__init__(what, fix)
        self.of_request = of_request


class PolicyError(FovealError):
    """The model endpoint or checkpoint failed or cannot be used."""


class TrainingError(FovealError):
    """A training run or its data cannot go on."""


def first_known(group: ExceptionGroup[Exception]) -> FovealError | None:
    """The first error of a group of errors for users; None if any of them is a bug, whose traceback is needed."""
    if group.split(FovealError)[1] is not None:
        return None
    first: Exception = group
    while isinstance(first, ExceptionGroup):
        first = first.exceptions[0]
    return first if isinstance(first, FovealError) else None

"""The code sandbox: stateful sessions for a model's code, isolated from the machine."""

from foveal.tools.sandbox.limits import SandboxLimits
from foveal.tools.sandbox.local import LocalSandbox
from foveal.tools.sandbox.session import LocalSession

__all__ = ["LocalSandbox", "LocalSession", "SandboxLimits"]

"""Static pages of saved runs.

Reads nothing but the run folder: any saved run can be drawn again without a model, a tool or the network.
"""

from foveal.view.site import render_run

__all__ = ["render_run"]

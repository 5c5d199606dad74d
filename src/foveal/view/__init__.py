"""Static pages of saved runs and curations.

Reads nothing but the folder: whatever was saved can be drawn again without a model, a tool or the network.
"""

from foveal.view.curation import holds_curation, render_curation
from foveal.view.site import render_run

__all__ = ["holds_curation", "render_curation", "render_run"]

"""foveal: train and run agentic multimodal models."""

__version__ = "0.1.0"

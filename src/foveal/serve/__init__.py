"""The agent, model and tools together, behind an OpenAI-compatible endpoint."""

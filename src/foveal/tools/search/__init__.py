"""Search tools: text and image search, live and offline."""

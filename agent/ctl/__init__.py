"""overlayctl: what operators ask, and how the answers look."""

"""Files that API and workers share: their paths, and where they are kept."""

"""Long-lived memory: a buffer pool and background compression."""

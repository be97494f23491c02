"""Memory for what is kept: a buffer pool and a thread that compresses."""

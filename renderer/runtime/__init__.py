"""The worker thread and what the loop needs to run: mailbox, pacing, latency, messages."""

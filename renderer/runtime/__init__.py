"""Runtime of the main loop: model engine and its threads, mailbox, pacing, latency, messages."""

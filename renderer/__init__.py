"""What you see and touch: the window, the paper, the loop. Never imports torch."""

"""Layout of the window, and the panes that show paper and picture."""

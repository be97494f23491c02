"""Remote control over OSC (Open Sound Control)."""

"""Remote control over OSC."""

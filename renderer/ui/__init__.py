"""User interface: windows, drawing, and translation of input events to actions."""

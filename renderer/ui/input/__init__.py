"""From mouse, pen and keyboard to actions."""

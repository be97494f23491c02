"""Translation of mouse, pen and keyboard input to actions."""

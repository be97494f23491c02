"""Fused forward passes for modules of diffusers, and work moved out of the frame."""

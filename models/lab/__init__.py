"""Comparison of diffusion and flow samplers with many and with few steps."""

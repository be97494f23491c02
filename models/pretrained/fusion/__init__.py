"""Fused forward passes for modules of diffusers, and precomputation of work that frames share."""

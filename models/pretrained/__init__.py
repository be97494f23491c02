"""Pretrained models of diffusers, served frame by frame."""

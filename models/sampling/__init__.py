"""Samplers, schedules and noise paths, shared by painter, pretrained models and lab."""

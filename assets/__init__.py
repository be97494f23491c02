"""Data files of the program: weights, fonts, sketches and stroke logs."""

from pathlib import Path

ASSETS = Path(__file__).resolve().parent

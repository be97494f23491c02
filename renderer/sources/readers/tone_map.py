"""Tone mapping of HDR video (PQ or HLG, BT.2020 primaries) to sRGB for the screen and the models."""

from __future__ import annotations

import functools

import cv2
import numpy as np

WHITE_NITS = 203.0  # diffuse white of HDR video, ITU-R BT.2408
PEAK_NITS = 1000.0  # usual mastering peak; brighter highlights are clipped
KNEE = 0.5  # linear light up to here is unchanged, above it is rolled off
LUT_SIZE = 4096
# ITU-R BT.2087: linear BT.2020 -> linear BT.709
TO_BT709 = np.array(
    ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187)), np.float32
)
BT2020_LUMA = np.array(((0.2627, 0.6780, 0.0593),), np.float32)


def to_sdr(rgb: np.ndarray, transfer: str) -> np.ndarray:
    """Map (H, W, 3) uint16, full-range BT.2020 R'G'B', to (H, W, 3) uint8 sRGB. transfer: "pq" or "hlg".

    The brightest channel is compressed and the others are scaled by the same factor, which keeps the hue.
    """
    linear = np.take(light(transfer), rgb)
    if transfer == "hlg":  # ITU-R BT.2100: system gamma of a 1000-nit display
        luma = cv2.transform(linear, BT2020_LUMA)
        linear *= (PEAK_NITS / WHITE_NITS) * np.maximum(luma, 1e-6)[..., None] ** 0.2
    linear = np.maximum(cv2.transform(linear, TO_BT709), 0.0)
    brightest = np.maximum(linear.max(-1, keepdims=True), 1e-6)
    linear *= roll_off(brightest) / brightest
    index = np.minimum(linear * (LUT_SIZE - 1) + 0.5, LUT_SIZE - 1).astype(np.uint16)
    return np.take(srgb_levels(), index)


def roll_off(light: np.ndarray) -> np.ndarray:
    """Compress linear light, 1 at diffuse white, to 0..1.

    The identity up to KNEE, then Reinhard's extended curve (Reinhard et al. 2002), which reaches 1 at the
    peak, with a continuous slope at the knee."""
    over = np.maximum(light - KNEE, 0) / (1 - KNEE)
    top = (PEAK_NITS / WHITE_NITS - KNEE) / (1 - KNEE)
    curved = KNEE + (1 - KNEE) * over * (1 + over / top**2) / (1 + over)
    return np.where(light < KNEE, light, np.minimum(curved, 1.0)).astype(np.float32)


@functools.lru_cache
def light(transfer: str) -> np.ndarray:
    """16-bit code to linear light, (65536,) float32; PQ: 1 is diffuse white, HLG: scene light 0..1."""
    code = np.arange(65536, dtype=np.float64) / 65535
    if transfer == "pq":  # SMPTE ST 2084
        m1, m2 = 2610 / 16384, 2523 / 4096 * 128
        c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
        root = code ** (1 / m2)
        nits = 10000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
        return (nits / WHITE_NITS).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073  # ARIB STD-B67
    scene = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    return scene.astype(np.float32)


@functools.lru_cache
def srgb_levels() -> np.ndarray:
    """Table from linear light 0..1 to sRGB level (IEC 61966-2-1), (LUT_SIZE,) uint8."""
    x = np.arange(LUT_SIZE, dtype=np.float64) / (LUT_SIZE - 1)
    curve = np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)
    return np.rint(255 * curve).astype(np.uint8)

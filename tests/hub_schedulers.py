"""Scheduler configurations of the catalogue's models, as published on the Hugging Face Hub.

Each is scheduler/scheduler_config.json of the model's repository, without entries that equal the default of
`diffusers` and do not affect times. They were read on 2026-11-28 from public copies of these files, not from
the hub itself. No copy was found for SANA-Sprint, so its values come from the pipeline's documentation. For
SD 3.5 one copy has a dynamic shift and the others a fixed one.
"""

from __future__ import annotations

BETAS = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "steps_offset": 1,
}
FIXED = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0}
TURBO = {"timestep_spacing": "trailing", **BETAS}
HUB: dict[str, dict] = {
    "sd15": {"_class_name": "PNDMScheduler", "skip_prk_steps": True, "set_alpha_to_one": False, **BETAS},
    "sdxl": {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading", **BETAS},
    "sd-turbo": {"_class_name": "EulerDiscreteScheduler", **TURBO},
    "sdxl-turbo": {"_class_name": "EulerAncestralDiscreteScheduler", **TURBO},
    "lcm": {"_class_name": "PNDMScheduler", "skip_prk_steps": True, "set_alpha_to_one": False, **BETAS},
    "sd3.5-medium": FIXED,
    "sd3.5-large-turbo": FIXED,
    "flux-schnell": {
        "_class_name": "FlowMatchEulerDiscreteScheduler",
        "num_train_timesteps": 1000,
        "shift": 1.0,
        "use_dynamic_shifting": False,
        "base_shift": 0.5,
        "max_shift": 1.15,
        "base_image_seq_len": 256,
        "max_image_seq_len": 4096,
    },
    "flux2-klein": {
        "_class_name": "FlowMatchEulerDiscreteScheduler",
        "num_train_timesteps": 1000,
        "shift": 3.0,
        "use_dynamic_shifting": True,
        "time_shift_type": "exponential",
        "base_shift": 0.5,
        "max_shift": 1.15,
        "base_image_seq_len": 256,
        "max_image_seq_len": 4096,
    },
    "z-image-turbo": {**FIXED, "use_dynamic_shifting": False},
    "sana-sprint": {
        "_class_name": "SCMScheduler",
        "num_train_timesteps": 1000,
        "prediction_type": "trigflow",
        "sigma_data": 0.5,
    },
}

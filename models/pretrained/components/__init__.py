"""What a frame needs beside the denoiser: autoencoder, prompt cache, schedule, LoRA, ControlNet."""

"""`mnist-tune denoise`: recognition of noisy digits with and without denoising."""

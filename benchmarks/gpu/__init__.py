"""Parts of `gpu_speed.py` and what they share, beside the recipes of `gpu.sh`."""

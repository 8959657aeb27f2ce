"""What the trainers of tools/tabletop and tools/libero share. They find it with PYTHONPATH=tools/training."""

"""Plays action chunks at the control rate."""

"""Addresses, frames and WebSocket connections."""

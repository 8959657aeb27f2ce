"""The client's side of `WS /stream` as a state machine."""

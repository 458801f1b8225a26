"""The events of each provider's streams: what they say of the call."""

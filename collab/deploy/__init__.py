"""What only a real deployment has: the durable store of a server."""

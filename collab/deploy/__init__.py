"""What only a real deployment has: certificates, who is who, the durable store of a server."""

"""Signed tokens, for sites that cannot have certificates."""

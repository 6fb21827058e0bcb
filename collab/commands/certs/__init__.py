"""Certificates for a server and its sites, by an authority of one's own."""

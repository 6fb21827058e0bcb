"""Reads run directories, never runs anything: figures and the HTML report."""

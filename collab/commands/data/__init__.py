"""Data sets: which there are, what is here of them, and how they come here."""

"""What keeps private data at its site: the kinds of content, their inspection, and the guard against copies."""

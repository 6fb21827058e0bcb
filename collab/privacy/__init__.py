"""What keeps private data at its site: kinds of content and their inspection, the guard against copies, secure sums."""

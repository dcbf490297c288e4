"""What the papers published, as data: a file for each paper, and `published` for all of them."""

"""What the learned attacks' papers measure and draw: transfer, trade-offs, losses along a path, rows of pictures."""

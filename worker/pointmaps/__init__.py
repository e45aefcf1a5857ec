"""What engines share about depth: up, floor, scale, sky, edges at the still's own size, the boxes around objects."""

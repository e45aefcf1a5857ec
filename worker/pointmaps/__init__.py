"""What any geometry engine makes of a depth map: up, floor, scale, sky, clean edges at the still's own size."""

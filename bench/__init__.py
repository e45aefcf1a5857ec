"""Ground truth and measurement: procedural stills with complete truth, and what the pipeline makes of them."""

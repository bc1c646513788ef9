"""Which classes an image shows, with the evidence for each, and the staged pre-annotation that follows from them."""

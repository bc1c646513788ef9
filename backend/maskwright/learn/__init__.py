"""How well a segmenter answers clicks and boxes, and how one learns to."""

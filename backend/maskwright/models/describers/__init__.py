"""Images to words: taggers and captioners."""

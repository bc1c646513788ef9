"""Language models that answer in JSON, and what they are asked."""

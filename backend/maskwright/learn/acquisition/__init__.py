"""What to label next: which images a person's next minutes teach the models most from.

Acquisition functions stand behind one protocol (``candidates.AcquisitionFunction``). What they need of an image is
measured once per version of the model (``candidates.measure``), can be stored, and is cheap to order again after every
correction. ``catalogue`` knows them by name; ``ordering`` turns priorities into the scores of predictions.
"""

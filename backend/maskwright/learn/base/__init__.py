"""The recipe of the embedded model: clean data, what is drawn from it, and the trainer.

Everything that the shipped weights learn from comes from here: CC0 nuclei, pictures that Debian and Python packages
ship under free licences (``corpus``), masks that were drawn on those by hand, and scenes that are put together from
them. ``samples.open_sources`` opens the streams of samples; ``preview`` shows them. The packages:
``apt-get install gcompris-qt-data mate-backgrounds plasma-workspace-wallpapers tuxpaint-stamps-default openclipart-png
fonts-noto-color-emoji tango-icon-theme`` and ``pip install scikit-image scikit-learn``.
"""

"""From recordings to a float network; `fit` is where to start.

May import augmentation and what is below it. Only this room and export import Keras at the top of a file.
"""

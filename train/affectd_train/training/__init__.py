"""From recordings to a float network; `fit` is where to start.

May import data and augmentation. Only this room and export import Keras.
"""

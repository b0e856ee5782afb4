"""From a float network to the int8 file that the device reads.

May import files alone. Only this room and training import Keras.
"""

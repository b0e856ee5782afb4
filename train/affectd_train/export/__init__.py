"""From a float network to the int8 file that the device reads.

May import `backend`, `stored` and `files`. Only this room and training import Keras at the top of a file.
"""

"""Other voices, rooms and noise for the samples of a recording, and other distortions for its bands.

May import `data` and `folders`.
"""

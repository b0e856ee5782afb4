"""One's own voice: the last layer of a network fitted again on a few labeled recordings of one person or place.

Of both programs, and only of their command ``personalize``. May import `audio`, `recognition`, `words` and what is
below them.
"""

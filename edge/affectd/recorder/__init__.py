"""`affectd record`: a voice recorder for people who know that they are recorded; all that ever writes sound to a file.

May import everything below `run`; only the command line imports it.
"""

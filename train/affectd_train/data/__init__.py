"""The recordings: which there are, who speaks, under which label and terms, on which side of a split, and loading them.

May import `folders` and `files`.
"""

"""`affectd bench`: what affectd costs on this board, measured on the real service with a sound card of memory.

May import any room; only `cli` imports it.
"""

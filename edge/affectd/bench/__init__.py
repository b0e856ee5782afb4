"""`affectd bench`: CPU, memory and latency of the real service with a simulated sound card.

May import any room; only `cli` imports it.
"""

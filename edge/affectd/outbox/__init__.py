"""Events that wait for the broker, in files that survive the process and a power cut.

May import `files` and nothing else of ours.
"""

"""`affectd watch`: what a device hears and believes, on a terminal, or as plain lines in a pipe.

May import any room but `cli`, `program` and `bench`; only `cli` imports it.
"""

"""What is in a recording over time, for ``affectd timeline``: as a table, a picture, or a file of another program.

May import everything below ``run``; nothing imports it but the command line.
"""

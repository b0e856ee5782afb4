"""Archives: any number of recordings in, a table of what is heard in them out, by as many workers as there are.

May import `data`, `cluster`, `stored`, `folders` and `files`; nothing here needs Keras.
"""

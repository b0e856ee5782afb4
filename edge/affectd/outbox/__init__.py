"""Events that wait for the broker, in files that survive the process and a power cut; imports no other room."""

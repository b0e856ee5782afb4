"""Model files that a fleet is sent over MQTT: signed, downloaded and tried in a process of its own, rolled back.

It may import `recognition` and what is below; nothing of it is loaded unless `[mqtt] fleet` is set.
"""

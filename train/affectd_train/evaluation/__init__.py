"""How right networks are, and what the device would do all day: predictions, metrics, calibration, noise, events.

May import data and augmentation. Keras is imported only where a float network is asked.
"""

"""How right networks are, and what the device would do all day: predictions, metrics, calibration, noise, events.

May import augmentation and what is below it. Keras is imported only where a float network is asked.
"""

"""The page of the device."""

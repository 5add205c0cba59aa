"""Roboflow: labeled images up, corrected labels down, students up. Only this package knows it."""

"""Paper 002, "Bigger isn't always memorizing": when memorization starts, and what sets its clock."""

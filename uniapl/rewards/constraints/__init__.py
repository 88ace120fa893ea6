"""Checks of the constraint types, in two readings.

`published` equals the original checkers to the verdict, quirks included, so that scores are comparable. `repaired` is
what the constraint's words demand; it is the default of rewards, because a policy learns the quirks of its reward.
"""

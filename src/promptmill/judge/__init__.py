"""Judges of answers, panels of them, and the report that says whether a panel may be believed. Shared by all crafts."""

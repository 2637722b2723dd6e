"""Transfer learning: what is trained on what, in which phases, and what is kept of it.

Read phases.py for how a phase is trained, recipes.py for what it is trained on.
"""

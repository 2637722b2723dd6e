"""The report on a run: one page, made of figures that others have measured."""

"""The TFX nodes: what each takes, makes and is cached by; the one room that imports TFX."""

"""The TFX nodes: what each takes, makes and is cached by; no other part of the room imports TFX."""

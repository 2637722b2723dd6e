"""What an evaluation's properties say about the gate, for the pages of a platform."""

VERDICT = "verdict"
PASSED = "passed"
"""The verdict on a model that may be pushed; any other one says what speaks against it."""

ACCURACY_LOWER, ACCURACY_UPPER = "accuracy_lower", "accuracy_upper"
MAJORITY = "majority"
LOSS = "loss"
CALIBRATION_ERROR = "ece"
TEST_LOOKS = "test_looks"
"""Left out where it is not known."""

"""What the clients of platforms raise, as errors of ours."""

from http import HTTPStatus

from google.api_core.exceptions import RetryError
from google.auth.exceptions import GoogleAuthError, TransportError
from urllib3.exceptions import HTTPError

from data.contract.errors import UserError

_TRY_AGAIN = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
_OF_THE_NETWORK = (OSError, HTTPError, TransportError, RetryError)


class SubmitError(UserError):
    """The platform could not be reached or refused; the message holds its words."""


class OutOfReachError(SubmitError):
    """The platform could not be asked this time; later it may answer."""


def said_no(platform: str, error: Exception) -> SubmitError:
    """What a platform's client has raised, in one line.

    Args:
        platform: its name.
        error: of the client of Kubeflow Pipelines, which has a `status`, of Google's, which has a
            `code`, of google.auth, of the network, or a fault of the client itself, which lasts.
    """
    reason = " ".join(str(error).split())[:500] or type(error).__name__
    kind = SubmitError if _is_lasting(error) else OutOfReachError
    return kind(f"{platform}: {reason}")


def _is_lasting(error: Exception) -> bool:
    """Whether the answer would be the same a little later."""
    status = getattr(error, "status", None) or getattr(error, "code", None)
    if isinstance(status, int):
        return status < 500 and status not in _TRY_AGAIN
    # A TransportError says of itself that it is not retryable.
    if isinstance(error, _OF_THE_NETWORK):
        return False
    return not (isinstance(error, GoogleAuthError) and error.retryable)

"""Errors that a user may read: each says what was wrong, where, and what to do.

The text of every class here is safe to show to a stranger: it holds no path of the server, no token and no traceback.
The server turns ``status`` into the HTTP status; the command line turns any of them into exit code 2.
"""


class MaskwrightError(Exception):
    """Base of every error with a message written for the user."""

    status: int = 500


class InvalidInput(MaskwrightError):
    """The request, file or argument is malformed; the message names the field and the expected form."""

    status = 400


class TooLarge(InvalidInput):
    """A file, image or request exceeds a configured bound; the message names the bound and its setting."""

    status = 413


class NotFound(MaskwrightError):
    """A thing that the request names does not exist."""

    status = 404


class Refused(MaskwrightError):
    """Policy forbids it (host not allowed, private address, no document root, wrong credentials)."""

    status = 403


class Unreachable(MaskwrightError):
    """Something outside this process did not answer (image server, labelling platform, model hub)."""

    status = 502


class ModelUnavailable(MaskwrightError):
    """The model cannot be loaded; the message names the model and how to obtain it."""

    status = 503


class Busy(MaskwrightError):
    """A bounded queue is full.

    Args:
        message: What is full.
        retry_after: Seconds after which trying again is sensible.
    """

    status = 503

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Cancelled(MaskwrightError):
    """The work was cancelled before it finished."""

    status = 503

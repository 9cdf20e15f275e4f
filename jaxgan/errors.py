"""The one exception that means: the user can mend this."""


class UserError(ValueError):
    """A mistake in what the user gave, told in one line: what was given, expected, what to do.

    The command line prints it without a traceback and exits with status 2.
    """

"""What goes wrong with a configuration of `demo reload-leak` that is to be refused."""


class RefusedError(Exception):
    """It could not be provisioned: a step after that of the tracer failed."""

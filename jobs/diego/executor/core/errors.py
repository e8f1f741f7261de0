"""What can be wrong with a request to the executor; texts of contract/executor.md section 2."""


class ExecutorError(Exception):
    """A request to the executor that cannot be carried out."""


class GuidNotAvailable(ExecutorError):
    def __init__(self) -> None:
        super().__init__("container guid not available")


class GuidNotSpecified(ExecutorError):
    def __init__(self) -> None:
        super().__init__("container guid not specified")


class InsufficientResources(ExecutorError):
    def __init__(self) -> None:
        super().__init__("insufficient resources available")


class ContainerNotFound(ExecutorError):
    def __init__(self) -> None:
        super().__init__("container not found")


class InvalidTransition(ExecutorError):
    def __init__(self) -> None:
        super().__init__("container cannot transition to given state")

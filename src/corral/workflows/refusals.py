"""What is refused about state machines and what belongs to them. Messages are worded as Step Functions words them."""

from __future__ import annotations

from corral.errors import BadRequest, CorralError, NotFound, ValidationFailed


class NameInvalid(BadRequest):
    """Names have 1 to 80 characters, none of them white, a control character or one that means something in addresses."""

    code = "invalid_name"

    @classmethod
    def of(cls, name: str) -> NameInvalid:
        """This one."""
        return cls(f"Invalid Name: '{name}'")


class LoggingInvalid(BadRequest):
    """The logging configuration does not make sense."""

    code = "invalid_logging_configuration"


class ParameterMissing(BadRequest):
    """Say what is to be changed."""

    code = "missing_parameter"


class TooManyTags(BadRequest):
    """A resource has at most 50 tags."""

    code = "too_many_tags"


class StateMachineNotFound(NotFound):
    """There is no such state machine."""

    code = "workflow_not_found"

    @classmethod
    def of(cls, arn: str) -> StateMachineNotFound:
        """This one."""
        return cls(f"State Machine Does Not Exist: '{arn}'")


class StateMachineExists(CorralError):
    """There is a state machine with this name already, and it is another one."""

    status = 409
    code = "workflow_exists"


class StateMachineDeleting(CorralError):
    """The state machine is being deleted: it goes with the last of its executions."""

    status = 409
    code = "workflow_deleting"

    @classmethod
    def of(cls, arn: str) -> StateMachineDeleting:
        """This one."""
        return cls(f"State Machine Is Deleting: '{arn}'")


class KindRefused(CorralError):
    """This operation is not supported by this type of state machine."""

    status = 409
    code = "workflow_kind_refused"


class CatalogConflict(CorralError):
    """Something else stands against it."""

    status = 409
    code = "workflow_conflict"


class Referenced(NotFound):
    """Request references a resource that does not exist."""

    code = "workflow_resource_not_found"


class ActivityNotFound(NotFound):
    """There is no such activity."""

    code = "activity_not_found"


class RoutingInvalid(ValidationFailed):
    """One or two versions of one state machine, with weights of 100 in all."""

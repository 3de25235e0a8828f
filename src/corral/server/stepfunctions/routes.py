"""All of the Step Functions API, put together."""

from __future__ import annotations

from collections.abc import Iterable

from corral.server.agentcore.once import Once
from corral.server.counted import NOT_COUNTED, Counted
from corral.server.routes import Route
from corral.server.stepfunctions.activities import Activities
from corral.server.stepfunctions.aliases import Aliases
from corral.server.stepfunctions.checking import Checking
from corral.server.stepfunctions.executions import Executions
from corral.server.stepfunctions.machines import Machines
from corral.server.stepfunctions.operations import Api, StepFunctions
from corral.server.stepfunctions.shown import Definitions
from corral.server.stepfunctions.tags import Tags
from corral.server.stepfunctions.trying import Trying
from corral.settings.workflow_sections import WorkflowSettings
from corral.workflows.activities import Activities as Declared
from corral.workflows.catalog import Catalog
from corral.workflows.doing import CallTask
from corral.workflows.engine import Engine
from corral.workflows.publishing import Publishing
from corral.workflows.tagging import Tagging


class StepFunctionsRoutes:
    """One address, and every operation that is known."""

    def __init__(  # noqa: PLR0913 - the one place where all parts of the API come together
        self,
        engine: Engine,
        catalog: Catalog,
        publishing: Publishing,
        activities: Declared,
        settings: WorkflowSettings,
        once: Once,
        *,
        call_task: CallTask | None = None,
        others: Iterable[Api] = (),
        counted: Counted = NOT_COUNTED,
    ) -> None:
        """`call_task` does a task that is tried by itself; `others` are parts of the API that other rooms have.

        Executions that begin are `counted`.
        """
        definitions = Definitions(catalog)
        self._activities = Activities(activities, engine, wait_s=settings.activity_wait_s)
        self._api = StepFunctions(
            [
                Machines(catalog, publishing, definitions.described),
                Aliases(publishing, catalog.arns),
                Executions(engine, catalog, definitions.described, once, counted),
                self._activities,
                Tags(Tagging(catalog, activities)),
                Checking(),
                Trying(catalog.arns, call_task),
                *others,
            ]
        )

    def routes(self) -> list[Route]:
        """`POST /`."""
        return [self._api.route()]

    @property
    def waiting(self) -> int:
        """Requests that wait for work."""
        return self._activities.waiting

    def drain(self) -> None:
        """End requests that wait for work: their clients ask another server. Calling it again does nothing."""
        self._activities.drain()

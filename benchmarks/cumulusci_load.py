"""CumulusCI's `load_dataset` against an org that is reached by address and token: run by the Python that CumulusCI is installed in.

Reads {"url", "token", "database", "mapping"} from standard input, prints the step's results as JSON.
"""

import json
import sys

from cumulusci.core.config import BaseProjectConfig, OrgConfig, TaskConfig, UniversalConfig
from cumulusci.core.exceptions import ServiceNotConfigured
from cumulusci.tasks.bulkdata.load import LoadData


class Org(OrgConfig):
    """A session that needs no refresh."""

    def refresh_oauth_token(self, keychain: object, connected_app: object = None, is_sandbox: bool = False) -> None:
        """There is nothing to refresh."""


class NoKeychain:
    """CumulusCI asks it for the name of its connected app."""

    def get_service(self, name: str) -> object:
        """None is configured."""
        raise ServiceNotConfigured(name)


told = json.load(sys.stdin)
project = BaseProjectConfig(UniversalConfig(), config={"project": {"package": {"api_version": "67.0"}}})
project.keychain = NoKeychain()
options = {"ignore_row_errors": True, "set_recently_viewed": False, "inject_namespaces": False}
options |= {"drop_missing_schema": True}  # else it refuses to load people, whose Name nobody may write
options |= {"database_url": told["database"], "mapping": told["mapping"]}
task = LoadData(
    project,
    TaskConfig({"options": options}),
    Org({"instance_url": told["url"], "access_token": told["token"], "username": "load"}, "bench"),
)
task()
print(json.dumps(task.return_values, default=str))

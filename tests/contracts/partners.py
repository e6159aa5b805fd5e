"""Microsoft's msgraph-sdk lists, gets and patches compliance management partners.

The first argument is a file of JSON: `graph` (the root), `authority`, `ca` (a file), `tenant`, `client`, `secret`, and
`writes`: by partner id, what to set, as `{"iosEnrollmentAssignments": [["Group", "…"], ["AllDevices", null]]}` with the names
that Graph has for properties and this project has for kinds of targets. It sets all of it, a property at a time, then reads
every partner by the listing and by its id. The answer is one line of JSON: `listed` and `got`, by id, with the properties as
they were read into the SDK's own types.
"""

import asyncio
import json
import re
import ssl
import sys
from urllib.parse import urlsplit

import httpx
from azure.identity import ClientSecretCredential
from kiota_authentication_azure.azure_identity_authentication_provider import AzureIdentityAuthenticationProvider
from msgraph import GraphRequestAdapter, GraphServiceClient
from msgraph.generated.models.all_devices_assignment_target import AllDevicesAssignmentTarget
from msgraph.generated.models.all_licensed_users_assignment_target import AllLicensedUsersAssignmentTarget
from msgraph.generated.models.compliance_management_partner import ComplianceManagementPartner
from msgraph.generated.models.compliance_management_partner_assignment import ComplianceManagementPartnerAssignment
from msgraph.generated.models.configuration_manager_collection_assignment_target import (
    ConfigurationManagerCollectionAssignmentTarget,
)
from msgraph.generated.models.exclusion_group_assignment_target import ExclusionGroupAssignmentTarget
from msgraph.generated.models.group_assignment_target import GroupAssignmentTarget
from msgraph_core import GraphClientFactory

KINDS = {
    "Group": (GroupAssignmentTarget, "group_id"),
    "ExclusionGroup": (ExclusionGroupAssignmentTarget, "group_id"),
    "ConfigurationManagerCollection": (ConfigurationManagerCollectionAssignmentTarget, "collection_id"),
    "AllLicensedUsers": (AllLicensedUsersAssignmentTarget, None),
    "AllDevices": (AllDevicesAssignmentTarget, None),
}

PROPERTIES = [
    "displayName",
    "macOsOnboarded",
    "androidOnboarded",
    "iosOnboarded",
    "macOsEnrollmentAssignments",
    "androidEnrollmentAssignments",
    "iosEnrollmentAssignments",
]


def attribute(name):
    """The SDK's name of a property: `macOsOnboarded` is `mac_os_onboarded` there."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def assignment(kind, value):
    """An assignment in the SDK's types."""
    target_type, member = KINDS[kind]
    target = target_type()
    if member is not None:
        setattr(target, member, value)
    return ComplianceManagementPartnerAssignment(target=target)


def shown(value):
    """A property as it was read, in the words of `writes`."""
    if not isinstance(value, list):
        return value
    by_type = {kind: (name, member) for name, (kind, member) in KINDS.items()}
    pairs = []
    for entry in value:
        name, member = by_type[type(entry.target)]
        pairs.append([name, getattr(entry.target, member) if member else None])
    return pairs


def read(partner):
    """All properties of a partner; the state's word and the heartbeat's moment as well."""
    found = {name: shown(getattr(partner, attribute(name))) for name in PROPERTIES}
    found["partnerState"] = partner.partner_state.value
    found["lastHeartbeatDateTime"] = partner.last_heartbeat_date_time.isoformat()
    return found


def sdk(settings):
    """The SDK's client, for the root and the CA of the settings."""
    root = settings["graph"]
    credential = ClientSecretCredential(
        settings["tenant"],
        settings["client"],
        settings["secret"],
        authority=settings["authority"],
        connection_verify=settings["ca"],
        disable_instance_discovery=True,
    )
    provider = AzureIdentityAuthenticationProvider(
        credential, scopes=[f"{root}/.default"], allowed_hosts=[urlsplit(root).netloc, urlsplit(root).hostname]
    )
    verified = httpx.AsyncClient(verify=ssl.create_default_context(cafile=settings["ca"]), http2=True)
    adapter = GraphRequestAdapter(provider, GraphClientFactory.create_with_default_middleware(client=verified))
    adapter.base_url = f"{root}/v1.0"
    return GraphServiceClient(request_adapter=adapter)


async def main():
    """See the module."""
    with open(sys.argv[1], encoding="utf-8") as file:
        settings = json.load(file)
    partners = sdk(settings).device_management.compliance_management_partners
    for identifier, writes in settings["writes"].items():
        for name, value in writes.items():
            if isinstance(value, list):
                value = [assignment(kind, of) for kind, of in value]
            change = ComplianceManagementPartner()
            setattr(change, attribute(name), value)
            await partners.by_compliance_management_partner_id(identifier).patch(change)
    listed = []
    page = await partners.get()
    while page is not None:
        listed.extend(page.value)
        link = page.odata_next_link
        page = await partners.with_url(link).get() if link else None
    got = {
        partner.id: read(await partners.by_compliance_management_partner_id(partner.id).get()) for partner in listed
    }
    print(json.dumps({"listed": {partner.id: read(partner) for partner in listed}, "got": got}), flush=True)


asyncio.run(main())

"""Microsoft's azure-identity asks for a token, once for each of the credentials that it is given.

The first argument is a file of JSON: `authority`, `scope`, `ca` (a file), `reads` (an address), and `attempts`, each with
`tenant`, `client` and either `secret` or `certificate` (a file with a key and its certificate). The answer is one line of JSON
for each attempt, in their order: `{"read": 200}`, where the address answered that to the token, or `{"codes": […]}` with the
numbers of Entra's errors.
"""

import json
import re
import ssl
import sys

import httpx
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CertificateCredential, ClientSecretCredential


def credential(settings, attempt):
    """The credential that an attempt names, for the authority and the CA of the settings."""
    options = {
        "authority": settings["authority"],
        "connection_verify": settings["ca"],
        # That asks Microsoft's own host whether it knows the authority.
        "disable_instance_discovery": True,
        "retry_total": 0,
    }
    if "secret" in attempt:
        return ClientSecretCredential(attempt["tenant"], attempt["client"], attempt["secret"], **options)
    return CertificateCredential(attempt["tenant"], attempt["client"], attempt["certificate"], **options)


def codes(error):
    """The numbers of Entra's errors in an exception and in those that led to it."""
    texts = []
    while error is not None:
        texts.append(str(error))
        error = error.__cause__ or error.__context__
    found = [int(code) for text in texts for code in re.findall(r"AADSTS(\d+)", text)]
    return sorted(set(found))


def main():
    """See the module."""
    with open(sys.argv[1], encoding="utf-8") as file:
        settings = json.load(file)
    verified = ssl.create_default_context(cafile=settings["ca"])
    for attempt in settings["attempts"]:
        try:
            token = credential(settings, attempt).get_token(settings["scope"]).token
            read = httpx.get(settings["reads"], headers={"Authorization": f"Bearer {token}"}, verify=verified)
            answer = {"read": read.status_code}
        except (ClientAuthenticationError, ValueError) as error:
            answer = {"codes": codes(error), "error": str(error)}
        print(json.dumps(answer), flush=True)


main()

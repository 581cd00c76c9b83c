"""TLS settings."""

import ssl


def create_ssl_context(insecure=False, cafile="", certfile="", keyfile=""):
    """Returns a TLS context for clients, with the certificate authorities of the system.

    `cafile` adds authorities, `insecure` switches all checks off, and `certfile` and `keyfile`
    together are the certificate and the key of the client.
    """
    context = ssl.create_default_context()
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if cafile:
        context.load_verify_locations(cafile)
    if certfile and keyfile:
        context.load_cert_chain(certfile, keyfile)
    return context

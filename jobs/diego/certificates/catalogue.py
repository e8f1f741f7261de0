"""Which authorities and leaves a deployment has, by name (contract/deployment.md section 8)."""

from dataclasses import dataclass

CA_DAYS = 3650
LEAF_DAYS = 365

SYSTEM_DOMAIN = "{system_domain}"
"""Stands for the deployment's own domain in a subject."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority; `signed_by` names its root where it is an intermediate."""

    name: str
    common_name: str
    signed_by: str | None = None
    days: int = CA_DAYS


@dataclass(frozen=True, slots=True)
class Leaf:
    """What a certificate says; the common name is among the names of every certificate."""

    name: str
    ca: str
    common_name: str
    sans: tuple[str, ...] = ()
    server: bool = False
    client: bool = False
    days: int = LEAF_DAYS

    def within(self, system_domain: str) -> "Leaf":
        """The same leaf with the deployment's domain put into its subject."""
        return Leaf(
            self.name,
            self.ca,
            self.common_name.replace(SYSTEM_DOMAIN, system_domain),
            tuple(san.replace(SYSTEM_DOMAIN, system_domain) for san in self.sans),
            self.server,
            self.client,
            self.days,
        )


INTERNAL = "service_cf_internal_ca"

AUTHORITIES: tuple[Authority, ...] = (
    Authority(INTERNAL, "internalCA"),
    Authority("application_ca", "appRootCA"),
    Authority("diego_instance_identity_ca", "instanceIdentityCA", signed_by="application_ca"),
    Authority("router_ca", "routerCA"),
    Authority("pxc_server_ca", "pxc_server_ca"),
    Authority("nats_ca", "nats_ca"),
    Authority("nats_internal_ca", "nats_internal_ca"),
    Authority("dns_ca", "dnsCA"),
)


def _service(name: str) -> tuple[str, tuple[str, ...]]:
    """The common name of an internal service, and the names of it and of its instances."""
    full = f"{name}.service.cf.internal"
    return full, (f"*.{full}", full)


def _leaf(
    name: str,
    ca: str,
    subject: tuple[str, tuple[str, ...]] | str,
    *,
    server: bool = False,
    client: bool = False,
) -> Leaf:
    common_name, sans = subject if isinstance(subject, tuple) else (subject, (subject,))
    return Leaf(name, ca, common_name, sans, server, client)


LEAVES: tuple[Leaf, ...] = (
    _leaf("diego_bbs_server", INTERNAL, _service("bbs"), server=True, client=True),
    _leaf("diego_bbs_client", INTERNAL, "bbs-client", client=True),
    _leaf("diego_auctioneer_server", INTERNAL, _service("auctioneer"), server=True),
    _leaf("diego_auctioneer_client", INTERNAL, "auctioneer-client", client=True),
    Leaf(
        "diego_rep_agent_v2",
        INTERNAL,
        "cell.service.cf.internal",
        ("*.cell.service.cf.internal", "cell.service.cf.internal", "127.0.0.1", "localhost"),
        server=True,
        client=True,
    ),
    _leaf("diego_rep_client", INTERNAL, "rep-client", client=True),
    _leaf("diego_locket_server", INTERNAL, _service("locket"), server=True),
    _leaf("diego_locket_client", INTERNAL, "locket-client", client=True),
    _leaf("file_server_cert", INTERNAL, "file-server.service.cf.internal", server=True),
    _leaf(
        "ssh_proxy_backends_tls",
        INTERNAL,
        ("ssh_proxy_backends_tls", ("ssh-proxy.service.cf.internal",)),
        client=True,
    ),
    _leaf(
        "gorouter_backend_tls",
        INTERNAL,
        ("gorouter_backend_tls", ("gorouter.service.cf.internal",)),
        client=True,
    ),
    _leaf(
        "gorouter_lb_health_tls",
        INTERNAL,
        ("gorouter_lb_health_tls", ("gorouter.service.cf.internal",)),
        server=True,
    ),
    _leaf("router_ssl", "router_ca", ("routerSSL", (SYSTEM_DOMAIN, f"*.{SYSTEM_DOMAIN}")), server=True),
    _leaf("mysql_server_certificate", "pxc_server_ca", "sql-db.service.cf.internal", server=True),
    _leaf("nats_server_cert", "nats_ca", _service("nats"), server=True),
    _leaf("nats_client_cert", "nats_ca", "nats_client", client=True),
    # between servers: an authority of their own, so that no client can pass for a server
    _leaf("nats_internal_cert", "nats_internal_ca", _service("nats"), server=True, client=True),
    _leaf("dns_health_server", "dns_ca", "health.bosh-dns", server=True),
    _leaf("dns_health_client", "dns_ca", "health.bosh-dns-client", client=True),
)

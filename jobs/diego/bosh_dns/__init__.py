"""bosh_dns: the names of the deployment (bbs.service.cf.internal and the like), on every host.

Called by the bosh_dns of the other hosts (8853, mutual TLS: "are you well?"); calls theirs, this host's supervisor
and healthchecker. contract/deployment.md section 9. It decides which addresses a name has at the moment, and
writes them where dnsmasq reads them; dnsmasq answers on 169.254.0.2, for containers too, and passes on
everything that is not ours. dnsmasq is a program of its own, run like this (as `vcap`, with
CAP_NET_BIND_SERVICE):

    dnsmasq --keep-in-foreground --conf-file=/dev/null --user=vcap --listen-address=169.254.0.2 --bind-interfaces
        --no-hosts --hostsdir=/var/vcap/data/bosh_dns/hosts --local=/cf.internal/ --local-ttl=0 --cache-size=0
        --no-negcache --resolv-file=RESOLVERS_THAT_WERE_THERE_BEFORE

dnsmasq 2.90 watches the directory: a file that is renamed into it replaces what that file said before, and
a file that is removed takes its names with it (tried; no signal is needed). Names that begin with a dot
are not read, so files are written under such a name and then renamed.
"""

"""The operator's command line: looks at a deployment, changes what it runs, and reads what the apps say.

It calls the BBS (`diego.bbs.client`), Locket (`diego.locket.client`) and the cells, with a client certificate, and
nothing calls it. `main` is the entry, `commands/` has a module per noun, `core/` what can be judged without a
network: manifests, differences, progress, tables.
"""

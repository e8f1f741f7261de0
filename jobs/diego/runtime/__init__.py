"""What every job stands on: configuration, logs, TLS, the server, its life and death.

A job is one process under supervisor: gunicorn with one worker of ours (`worker`), whose event loop serves
the listeners (`server`, `connection`), and around it the job's own threads and loops (`process`). A job says
what it is in a `Job` (`job`) and what its listeners answer in an `Api` (`api`). `main` puts it together.
"""

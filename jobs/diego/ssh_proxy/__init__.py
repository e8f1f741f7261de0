"""The SSH proxy: where `cf ssh` calls. In this version it answers, and says that shells are not available yet.

Called by SSH clients and load balancers (health); calls nobody. contract/ssh.md sections 1 and 5. What is here is
the listener with its host key, algorithms, bounds and health; what is not here is the way to the container: login
(section 3), the target's lookup and the splicing of channels. A client is told so before it would have to give
its password.
"""

"""Every HTTP call the director makes: one deadline over all of it, from the name to the last byte.

A timeout of `requests` is a pause allowed between two reads, so a server that sends a byte now and then holds its
caller for ever. Here every step of an exchange (look-up of the name, connects, TLS handshake, each read and write)
takes what remains of one `limits.deadline.Deadline`, and each exchange can be ended from another thread.

In the order of use:

- `client`: `HttpClient`, the door. Everything outside this room imports from there.
- `transport`: the adapter mounted into a `requests.Session`, its idle connections, the reading of an answer.
- `exchange`: one request under way: its deadline, its socket, who may end it.
- `sockets`: sockets and connections that know the exchange they serve.
- `names`: name resolution in threads of its own, remembered.
- `failures`: the ways in which a call fails.
"""

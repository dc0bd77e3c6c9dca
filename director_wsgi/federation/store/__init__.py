"""The state store: what one worker learns, all workers of the host know, and a restart forgets nothing of it.

A store is a table of records with revisions. Whoever puts something gives it the next revision; whoever wants to know
what is new asks for what came after the revision seen last. A store knows nothing of what its records mean.

- `records`: the interface: what is put, what is read, and `Store` itself.
- `errors`: what may be wrong with a store.
- `sqlite`: a store in one file, for the processes of one host. No SQL leaves this folder.
  `schema`: its tables and their versions; `connection`: one connection, and the file it is open on; `files`: names,
  modes, and how a file that cannot be used is set aside.
- `mirror`: the store that workers share lies in shared memory; its copy on disk is what a reboot leaves.
- `codec`: advertisements as bytes and back.
"""

"""Who may say what: the way of an advertisement, from the bytes posted to the directory.

Never on the way of a redirect. In the order of use:

- `admission`: the steps, in order; what ends one and with which sentence.
- `tokens`, `keys`: what proves that the sender holds the key it registered.
- `inquiry`: what the registry says of a prefix: remembered, and asked again by few threads at a time.
- `remembered`: the table of answers behind it.
- `registry`: the questions, as HTTP.
- `prefixes`: what each cache may serve, refreshed in the background.
- `issuer`: this director's own keys, as the public sees them.
- `self_issued`: the tokens that it signs for its own doors.
"""

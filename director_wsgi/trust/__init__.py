"""Who may say what: the way of an advertisement, from the bytes posted to the directory.

Never on the way of a redirect. In the order of use:

- `admission`: the steps, in order; what ends one and with which sentence.
- `tokens`, `keys`: what proves that the sender holds the key it registered.
- `inquiry`: what the registry says of a prefix, and who may wait for it.
- `questions`: one kind of question: `remembered` (its answers), `pool` (the threads that ask), `silence` (whether the
  registry answers at all).
- `registry`: the questions, as HTTP.
- `poll`: what the registry knows as a whole, fetched in the background.
- `prefixes`: what each cache may serve, refreshed in the background.
- `issuer`: this director's own keys; `key_files`: their making; `keyring`: which of them signs.
- `minting`: the tokens that it signs; `fed_token`: those that it signs for others.
- `self_issued`: who may pass its own doors; `federation_keys`: the federation's keys, if another host has them.
"""

"""The page on the device: what it hears and believes, live, for a browser and for tools; only if it is enabled.

One thread serves all clients and waits for none of them. May import `events`, `audio`, `recognition`, `config`,
`stdio`, `files` and `errors`.
"""

"""A policy that robots ask over the network, in the websocket messages that openpi made known."""

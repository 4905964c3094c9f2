"""kbchat behind the interfaces of its neighbours: one module each, imported only by who uses that neighbour."""

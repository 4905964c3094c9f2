"""kbchat for agents: tools that a language model calls, and the protocol it calls them by (MCP)."""

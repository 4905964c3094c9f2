"""kbchat: chat with your own documents."""
